/* Errors from the outside world (files, devices, configuration): a status plus a message for the user.
 *
 *     beam_status open_it(const char *path)
 *     {
 *         if (!exists(path))
 *             return BEAM_FAIL(BEAM_EDATA, "%s: no such file; run `beam preprocess` first", path);
 *         BEAM_TRY(read_it(path));
 *         return BEAM_OK;
 *     }
 *
 * A message names the file (and line), what was wrong and what to do. Broken contracts inside the program are
 * not statuses: BEAM_ASSERT stops, in every build. 0 is success everywhere. */
#ifndef BEAM_CORE_STATUS_H
#define BEAM_CORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    BEAM_OK = 0,
    BEAM_ECONFIG,   /* configuration or usage */
    BEAM_EDATA,     /* token file, text, JSONL */
    BEAM_EMODEL,    /* model folder or checkpoint refused */
    BEAM_EIO,       /* file system: cannot read, cannot write, disk full */
    BEAM_ENUMERIC,  /* a non-finite loss or gradient that did not go away */
    BEAM_STOPPED,   /* a signal asked to stop, and a good checkpoint was written */
    BEAM_ENOMEM,    /* host or device memory */
    BEAM_EDEVICE,   /* no such device, or it failed */
    BEAM_ECOMM,     /* ranks disagree or a peer is gone */
    BEAM_EINTERNAL, /* a bug */
} beam_status;

/* The documented exit code of a status (docs/troubleshooting.md): 0 ok, 2 configuration or usage, 3 data,
 * 4 model or checkpoint, 5 I/O, 6 numeric, 7 stopped by a signal, 70 everything else. */
int beam_exit_code(beam_status s);

/* Records the message (printf style) and the call site for this thread, replacing an earlier message. Control
 * characters become '?'. */
void beam_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Adds a call site to the trace of the current failure. */
void beam_trace(const char *file, int line);

/* The message of the last failure of this thread; "" if there was none. Valid until the next failure. */
const char *beam_last_error(void);

/* The call sites the last failure passed through, one "file:line" per line, innermost first. */
const char *beam_error_trace(void);

/* Prints "file:line: broken contract: what" and aborts. */
__attribute__((noreturn)) void beam_assert_failed(const char *file, int line, const char *what);

/* The status stands at the end as itself, so that compilers see that a failure is not BEAM_OK. */
#define BEAM_FAIL(s, ...) (beam_fail(__FILE__, __LINE__, __VA_ARGS__), (beam_status)(s))
#define BEAM_TRY(expr)                                                                                       \
    do {                                                                                                     \
        const beam_status beam_try_status = (expr);                                                          \
        if (beam_try_status != BEAM_OK) {                                                                    \
            beam_trace(__FILE__, __LINE__);                                                                  \
            return beam_try_status;                                                                          \
        }                                                                                                    \
    } while (0)
#define BEAM_ASSERT(cond) ((cond) ? (void)0 : beam_assert_failed(__FILE__, __LINE__, #cond))

#ifdef __cplusplus
}
#endif
#endif
