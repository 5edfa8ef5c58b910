/* One value: from text, back to text, and what it may be. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/quote.h"
#include "train/config_key.h"

static bool in_range(const beam_key *key, double value)
{
    const bool low = key->flags & BEAM_KEY_ABOVE_MIN ? value > key->min : value >= key->min;
    const bool open = key->flags & BEAM_KEY_BELOW_MAX || isinf(key->max);
    const bool high = open ? value < key->max : value <= key->max;
    return low && high; /* NaN and infinity are out of every range */
}

static bool parse_int(const beam_key *key, const char *text, void *to)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno || !in_range(key, (double)value))
        return false;
    const int64_t stored = value;
    memcpy(to, &stored, sizeof stored);
    return true;
}

static bool parse_real(const beam_key *key, const char *text, void *to)
{
    char *end;
    const double value = strtod(text, &end); /* an overflow gives infinity, which is out of range */
    if (end == text || *end || !in_range(key, value))
        return false;
    memcpy(to, &value, sizeof value);
    return true;
}

static bool parse_bool(const char *text, void *to)
{
    const bool value = strcasecmp(text, "true") == 0;
    if (!value && strcasecmp(text, "false") != 0)
        return false;
    memcpy(to, &value, sizeof value);
    return true;
}

static bool parse_choice(const beam_key *key, const char *text, void *to)
{
    const int value = beam_key_word(key->choices, text);
    if (value < 0)
        return false;
    memcpy(to, &value, sizeof value);
    return true;
}

bool beam_key_parse(const beam_key *key, const char *text, beam_config *config)
{
    void *to = (char *)config + key->offset;
    const char *said = text ? text : key->initial;
    if (!said) {
        BEAM_ASSERT(key->kind == BEAM_KEY_REAL);
        memcpy(to, &(double){NAN}, sizeof(double));
        return true;
    }
    switch (key->kind) {
    case BEAM_KEY_BOOL:
        return parse_bool(said, to);
    case BEAM_KEY_INT:
        return parse_int(key, said, to);
    case BEAM_KEY_REAL:
        return parse_real(key, said, to);
    case BEAM_KEY_CHOICE:
        return parse_choice(key, said, to);
    case BEAM_KEY_TEXT:
        break;
    }
    if (strlen(said) >= BEAM_PATH_MAX)
        return false;
    memset(to, 0, BEAM_PATH_MAX);
    memcpy(to, said, strlen(said));
    return true;
}

static void expect_number(const beam_key *key, char *text, size_t size)
{
    const char *kind = key->kind == BEAM_KEY_INT ? "whole number" : "number";
    const char *low = key->flags & BEAM_KEY_ABOVE_MIN ? ">" : ">=";
    const char *high = key->flags & BEAM_KEY_BELOW_MAX ? "<" : "<=";
    if (isinf(key->max))
        snprintf(text, size, "a %s %s %.16g", kind, low, key->min);
    else
        snprintf(text, size, "a %s %s %.16g and %s %.16g", kind, low, key->min, high, key->max);
}

bool beam_key_same(const beam_key *key, const beam_config *a, const beam_config *b)
{
    static const size_t size[] = {[BEAM_KEY_BOOL] = sizeof(bool),
                                  [BEAM_KEY_INT] = sizeof(int64_t),
                                  [BEAM_KEY_REAL] = sizeof(double),
                                  [BEAM_KEY_CHOICE] = sizeof(int),
                                  [BEAM_KEY_TEXT] = BEAM_PATH_MAX};
    return memcmp((const char *)a + key->offset, (const char *)b + key->offset, size[key->kind]) == 0;
}

const char *beam_key_expects(const beam_key *key, char *text, size_t size)
{
    if (key->kind == BEAM_KEY_INT || key->kind == BEAM_KEY_REAL) {
        expect_number(key, text, size);
    } else if (key->kind == BEAM_KEY_BOOL) {
        snprintf(text, size, "true or false");
    } else if (key->kind == BEAM_KEY_TEXT) {
        snprintf(text, size, "a text of at most %d bytes", BEAM_PATH_MAX - 1);
    } else {
        size_t used = (size_t)snprintf(text, size, "one of ");
        for (const char *p = key->choices; *p && used + 2 < size; p++) {
            if (*p == ' ')
                text[used++] = ',';
            text[used++] = *p;
        }
        text[used] = '\0';
    }
    return text;
}

/* The shortest of 15 to 17 digits that reads back as the same number. */
static void print_real(double value, FILE *to)
{
    char text[32];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    fputs(isnan(value) ? "null" : text, to);
}

static void print_choice(const beam_key *key, int value, FILE *to)
{
    const char *p = key->choices;
    for (int i = 0; i < value; i++)
        p = strchr(p, ' ') + 1;
    fprintf(to, "\"%.*s\"", (int)strcspn(p, " "), p);
}

void beam_key_print(const beam_key *key, const beam_config *config, FILE *to)
{
    const void *at = (const char *)config + key->offset;
    switch (key->kind) {
    case BEAM_KEY_BOOL:
        fputs(*(const bool *)at ? "true" : "false", to);
        break;
    case BEAM_KEY_INT:
        fprintf(to, "%" PRId64, *(const int64_t *)at);
        break;
    case BEAM_KEY_REAL:
        print_real(*(const double *)at, to);
        break;
    case BEAM_KEY_CHOICE:
        print_choice(key, *(const int *)at, to);
        break;
    case BEAM_KEY_TEXT:
        beam_print_quoted(to, at);
        break;
    }
}
