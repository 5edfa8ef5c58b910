#include "cli/quantity.h"

#include <inttypes.h>
#include <stdio.h>

const char *beam_quantity_digits(beam_quantity *q, int64_t n)
{
    char digits[24];
    size_t used = 0;
    const int length = snprintf(digits, sizeof digits, "%" PRId64, n);
    for (int i = 0; i < length; i++) {
        if (i > 0 && digits[i - 1] != '-' && (length - i) % 3 == 0)
            q->text[used++] = ',';
        q->text[used++] = digits[i];
    }
    q->text[used] = '\0';
    return q->text;
}

/* `n` divided by the largest power of 1000 that leaves at least 1, with that power's name and the unit. */
static const char *scaled(beam_quantity *q, double n, const char *const powers[], const char *unit)
{
    int power = 0;
    for (; n >= 999.995 && powers[power + 1]; power++)
        n /= 1000;
    const char *space = *powers[power] || *unit ? " " : "";
    snprintf(q->text, sizeof q->text, "%.*f%s%s%s", power ? 2 : 0, n, space, powers[power], unit);
    return q->text;
}

const char *beam_quantity_short(beam_quantity *q, double n)
{
    static const char *const powers[] = {"", "K", "M", "B", "T", NULL};
    return scaled(q, n, powers, "");
}

const char *beam_quantity_flops(beam_quantity *q, double n)
{
    static const char *const powers[] = {"", "K", "M", "G", "T", "P", "E", NULL};
    return scaled(q, n, powers, "FLOP");
}

const char *beam_quantity_bytes(beam_quantity *q, double n)
{
    static const char *const powers[] = {"", "k", "M", "G", "T", "P", NULL};
    return scaled(q, n, powers, n < 1000 ? "bytes" : "B");
}

const char *beam_quantity_seconds(beam_quantity *q, double n)
{
    const int64_t whole = n < 1e15 ? (int64_t)(n + 0.5) : (int64_t)1e15, hour = 3600, day = 24 * hour;
    if (whole < 60)
        snprintf(q->text, sizeof q->text, "%.3g s", n);
    else if (whole < 2 * day)
        snprintf(q->text, sizeof q->text, "%" PRId64 ":%02" PRId64 ":%02" PRId64, whole / hour,
                 whole / 60 % 60, whole % 60);
    else
        snprintf(q->text, sizeof q->text, "%" PRId64 " d %" PRId64 " h", whole / day, whole / hour % 24);
    return q->text;
}

const char *beam_quantity_parameters(beam_quantity *q, int64_t total, int64_t active)
{
    beam_quantity a, b, c, d;
    snprintf(q->text, sizeof q->text, "%.27s (%.16s), %.27s active per token (%.16s)",
             beam_quantity_digits(&a, total), beam_quantity_short(&b, (double)total),
             beam_quantity_digits(&c, active), beam_quantity_short(&d, (double)active));
    return q->text;
}
