#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The one piece of process-wide state besides the last error: where log lines are copied to. */
static FILE *copy;

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

void beam_log(beam_log_level level, const char *fmt, ...)
{
    if (level > beam_log_threshold())
        return;
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    char line[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", prefix[level], line);
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
