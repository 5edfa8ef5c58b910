/* Lines for humans, on stderr. Machines read metrics.jsonl instead. */
#ifndef BEAM_CORE_LOG_H
#define BEAM_CORE_LOG_H

typedef enum { BEAM_LOG_ERROR, BEAM_LOG_WARN, BEAM_LOG_INFO, BEAM_LOG_DEBUG } beam_log_level;

/* The level from the environment: BEAM_LOG = error | warn | info | debug; info if unset. */
beam_log_level beam_log_threshold(void);

/* Prints one line (a newline is added). Errors and warnings carry their level in front. */
void beam_log(beam_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same lines also go to this file (appended; NULL stops it). Returns 0, or -1 with errno set. */
int beam_log_also_to(const char *path);

/* In a job of several ranks: errors and warnings begin with "rank R: ", and other lines of ranks beyond 0 go
 * to the file only. */
void beam_log_as_rank(int rank);

#define beam_info(...)  beam_log(BEAM_LOG_INFO, __VA_ARGS__)
#define beam_warn(...)  beam_log(BEAM_LOG_WARN, __VA_ARGS__)
#define beam_debug(...) beam_log(BEAM_LOG_DEBUG, __VA_ARGS__)

#endif
