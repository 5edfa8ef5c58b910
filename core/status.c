#include "core/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_error[2048];
static _Thread_local char trace[2048];

int beam_exit_code(beam_status s)
{
    switch (s) {
    case BEAM_OK:
        return 0;
    case BEAM_ECONFIG:
        return 2;
    case BEAM_EDATA:
        return 3;
    case BEAM_EMODEL:
        return 4;
    case BEAM_EIO:
        return 5;
    case BEAM_ENUMERIC:
        return 6;
    case BEAM_STOPPED:
        return 7;
    case BEAM_ENOMEM:
    case BEAM_EDEVICE:
    case BEAM_ECOMM:
    case BEAM_EINTERNAL:
        break;
    }
    return 70;
}

void beam_fail(const char *file, int line, const char *fmt, ...)
{
    char message[sizeof last_error]; /* the arguments may point into last_error */
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    for (char *c = message; *c;
         c++) /* names and file contents are quoted: one line, nothing that steers a terminal */
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    memcpy(last_error, message, sizeof message);
    trace[0] = '\0';
    beam_trace(file, line);
}

void beam_trace(const char *file, int line)
{
    const size_t used = strlen(trace);
    snprintf(trace + used, sizeof trace - used, "%s:%d\n", file, line);
}

const char *beam_last_error(void)
{
    return last_error;
}

const char *beam_error_trace(void)
{
    return trace;
}

void beam_assert_failed(const char *file, int line, const char *what)
{
    fprintf(stderr,
            "%s:%d: broken contract: %s\nThis is a bug in beam; please report it with the command line.\n",
            file, line, what);
    abort();
}
