#include "cli/printer.h"

#include <inttypes.h>
#include <math.h>

#include "core/quote.h"

enum { DIGITS = 12 };

beam_printer beam_print_open(FILE *to)
{
    putc('{', to);
    return (beam_printer){.to = to};
}

void beam_print_close(beam_printer *p)
{
    putc('}', p->to);
}

void beam_print_end(beam_printer *p)
{
    beam_print_close(p);
    putc('\n', p->to);
}

void beam_print_key(beam_printer *p, const char *key)
{
    if (p->more)
        putc(',', p->to);
    p->more = true;
    beam_print_quoted(p->to, key);
    putc(':', p->to);
}

void beam_print_f64(beam_printer *p, const char *key, double x)
{
    beam_print_key(p, key);
    beam_print_number(p->to, x, DIGITS);
}

void beam_print_i64(beam_printer *p, const char *key, int64_t x)
{
    beam_print_key(p, key);
    fprintf(p->to, "%" PRId64, x);
}

void beam_print_bool(beam_printer *p, const char *key, bool x)
{
    beam_print_key(p, key);
    fputs(x ? "true" : "false", p->to);
}

void beam_print_text(beam_printer *p, const char *key, const char *text)
{
    beam_print_key(p, key);
    beam_print_quoted(p->to, text);
}

void beam_print_list(beam_printer *p, const char *key, const double *x, int64_t n)
{
    beam_print_key(p, key);
    beam_print_numbers(p->to, x, n, DIGITS);
}

void beam_print_numbers(FILE *to, const double *x, int64_t n, int digits)
{
    putc('[', to);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0)
            putc(',', to);
        beam_print_number(to, x[i], digits);
    }
    putc(']', to);
}

void beam_print_number(FILE *to, double x, int digits)
{
    if (isfinite(x))
        fprintf(to, "%.*g", digits, x);
    else
        fputs("null", to);
}
