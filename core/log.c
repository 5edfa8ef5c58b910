#include "core/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/terminal.h"

/* The only process-wide state besides the last error: where log lines are copied to, and who speaks. */
static FILE *copy;
static int speaker = -1; /* its rank; -1: a process alone */

beam_log_level beam_log_threshold(void)
{
    static const char *const name[] = {"error", "warn", "info", "debug"};
    const char *wanted = getenv("BEAM_LOG");
    for (int i = 0; wanted && i < 4; i++)
        if (strcmp(wanted, name[i]) == 0)
            return (beam_log_level)i;
    return BEAM_LOG_INFO;
}

int beam_log_also_to(const char *path)
{
    if (copy)
        fclose(copy);
    copy = path ? fopen(path, "a") : NULL;
    return path && !copy ? -1 : 0;
}

void beam_log_as_rank(int rank)
{
    speaker = rank;
}

void beam_log(beam_log_level level, const char *fmt, ...)
{
    if (level > beam_log_threshold())
        return;
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    const bool urgent = level <= BEAM_LOG_WARN;
    char line[4096], who[24] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (urgent && speaker >= 0)
        snprintf(who, sizeof who, "rank %d: ", speaker);
    if (urgent || speaker <= 0)
        beam_print_message(stderr, who, prefix[level], line);
    if (copy) {
        char when[32];
        const time_t now = time(NULL);
        struct tm utc;
        gmtime_r(&now, &utc);
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
        fprintf(copy, "%s %s%s\n", when, prefix[level], line);
        fflush(copy);
    }
}
