#include "data/text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/json.h"
#include "data/text_source.h"

struct beam_text {
    char path[1024];
    beam_text_options options;
    bool json;
    beam_source *source;
    beam_buffer text; /* the line or document under construction */
    int64_t line;     /* number of the line read last, from 1 */
    int64_t bad_rows;
    json_t *row; /* holds the document that was handed out last */
};

static bool is_jsonl(const char *path)
{
    return beam_path_ends(path, ".jsonl") || beam_path_ends(path, ".jsonl.zst");
}

bool beam_text_is(const char *path)
{
    return is_jsonl(path) || beam_path_ends(path, ".txt") || beam_path_ends(path, ".txt.zst");
}

beam_status beam_text_open(const char *path, const beam_text_options *options, beam_text **out)
{
    if (!beam_text_is(path))
        return BEAM_FAIL(BEAM_EDATA, "%s: its name must end in .txt, .jsonl, .txt.zst or .jsonl.zst", path);
    beam_text *t = calloc(1, sizeof *t);
    if (!t)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", path);
    const beam_status s = beam_source_open(path, beam_path_ends(path, ".zst"), &t->source);
    if (s != BEAM_OK) {
        free(t);
        return s;
    }
    snprintf(t->path, sizeof t->path, "%s", path);
    t->options = *options;
    if (!t->options.field)
        t->options.field = "text";
    t->json = is_jsonl(path);
    *out = t;
    return BEAM_OK;
}

void beam_text_close(beam_text *t)
{
    if (!t)
        return;
    beam_source_close(t->source);
    json_decref(t->row);
    free(t->text.bytes);
    free(t);
}

int64_t beam_text_bad_rows(const beam_text *t)
{
    return t->bad_rows;
}

uint64_t beam_text_bytes_read(const beam_text *t)
{
    return beam_source_bytes_read(t->source);
}

/* One more malformed document: BEAM_OK if it may be left out. */
static beam_status bad_row(beam_text *t, int64_t line, const char *what)
{
    t->bad_rows++;
    if (t->bad_rows <= t->options.max_bad_rows)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_EDATA, "%s:%lld: %s; repair it, or leave it out with --max-bad-rows", t->path,
                     (long long)line, what);
}

/* Whether one more malformed document may be left out. */
static bool may_be_bad(const beam_text *t)
{
    return t->bad_rows < t->options.max_bad_rows;
}

/* Appends the next line to t->text, as beam_source_line does. The rest of a line that does not fit is passed
 * over, if anything will be read after it. */
static beam_status append_line(beam_text *t, size_t limit, bool *fits, bool *end)
{
    BEAM_TRY(beam_source_line(t->source, limit, &t->text, fits, end));
    t->line += !*end;
    return *fits || !may_be_bad(t) ? BEAM_OK : beam_source_skip_line(t->source);
}

/* The text of the JSON object in t->text; or *text = NULL and what is wrong with it. */
static beam_status parse_row(beam_text *t, const char **text, size_t *size, char *wrong, size_t wrong_size)
{
    enum { MAX_DEPTH = 1024 }; /* Jansson walks rows recursively */
    json_error_t error;
    const char *excess;
    json_decref(t->row);
    t->row = beam_json_load(t->text.bytes, t->text.size, MAX_DEPTH, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
                            &error, &excess);
    *text = NULL;
    if (excess == beam_json_no_memory)
        return BEAM_FAIL(BEAM_ENOMEM, "%s:%lld: %s", t->path, (long long)t->line, excess);
    const json_t *value = json_object_get(t->row, t->options.field);
    if (excess)
        snprintf(wrong, wrong_size, "%s", excess);
    else if (!t->row)
        snprintf(wrong, wrong_size, "not JSON: %s (column %d)", error.text, error.column);
    else if (!json_is_object(t->row))
        snprintf(wrong, wrong_size, "not a JSON object");
    else if (!value)
        snprintf(wrong, wrong_size, "no key \"%s\"", t->options.field);
    else if (!json_is_string(value))
        snprintf(wrong, wrong_size, "\"%s\" is not a string", t->options.field);
    *size = json_string_length(value);
    *text = json_string_value(value);
    return BEAM_OK;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n')
            return false;
    return true;
}

static beam_status next_row(beam_text *t, const char **text, size_t *size)
{
    for (;;) {
        char wrong[256];
        bool fits, end;
        t->text.size = 0;
        BEAM_TRY(append_line(t, BEAM_TEXT_LINE_MAX, &fits, &end));
        if (end)
            return BEAM_OK;
        if (fits && is_blank(t->text.bytes, t->text.size))
            continue;
        if (fits)
            BEAM_TRY(parse_row(t, text, size, wrong, sizeof wrong));
        else
            snprintf(wrong, sizeof wrong, "longer than %d MiB", BEAM_TEXT_LINE_MAX >> 20);
        if (*text)
            return BEAM_OK;
        BEAM_TRY(bad_row(t, t->line, wrong));
    }
}

/* Whether the last line of t->text, which begins at `from`, is the separator. */
static bool is_separator(const beam_text *t, size_t from)
{
    const char *separator = t->options.separator;
    if (!separator)
        return false;
    size_t n = t->text.size - from;
    while (n > 0 && (t->text.bytes[from + n - 1] == '\n' || t->text.bytes[from + n - 1] == '\r'))
        n--;
    return n == strlen(separator) && memcmp(t->text.bytes + from, separator, n) == 0;
}

size_t beam_utf8_length(const char *bytes, size_t n)
{
    const unsigned char *s = (const unsigned char *)bytes;
    static const struct {
        unsigned char first, last, low, high; /* range of the first byte, and of the second */
        unsigned char length;
    } form[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    size_t f = 0;
    while (f < sizeof form / sizeof form[0] && !(s[0] >= form[f].first && s[0] <= form[f].last))
        f++;
    if (f == sizeof form / sizeof form[0] || form[f].length > n)
        return 0;
    for (size_t i = 1; i < form[f].length; i++)
        if (s[i] < (i == 1 ? form[f].low : 0x80) || s[i] > (i == 1 ? form[f].high : 0xbf))
            return 0;
    return form[f].length;
}

bool beam_is_utf8(const char *s, size_t n)
{
    for (size_t i = 0, length; i < n; i += length)
        if ((length = beam_utf8_length(s + i, n - i)) == 0)
            return false;
    return true;
}

/* Reads lines up to the next separator. */
static beam_status next_section(beam_text *t, const char **text, size_t *size)
{
    static const char too_long[] = "the document is longer than 1 GiB";
    for (bool end = false; !end;) {
        const char *wrong = NULL;
        int64_t wrong_line = 0, lines = 0;
        t->text.size = 0;
        for (bool fits, separated = false; !separated;) {
            const size_t from = t->text.size;
            BEAM_TRY(append_line(t, BEAM_TEXT_DOCUMENT_MAX, &fits, &end));
            if (end)
                break;
            separated = fits && is_separator(t, from);
            lines += !separated;
            if (!fits && !may_be_bad(t))
                return bad_row(t, t->line, too_long);
            if (!wrong && (!fits || !beam_is_utf8(t->text.bytes + from, t->text.size - from))) {
                wrong = fits ? "not UTF-8" : too_long;
                wrong_line = t->line;
            }
            if (wrong || separated) /* the rest of a document given up is only searched for its end */
                t->text.size = wrong ? 0 : from;
        }
        if (wrong) {
            BEAM_TRY(bad_row(t, wrong_line, wrong));
        } else if (lines > 0) {
            t->text.bytes[t->text.size] = '\0'; /* where the separator stood */
            *text = t->text.bytes;
            *size = t->text.size;
            return BEAM_OK;
        }
    }
    return BEAM_OK;
}

beam_status beam_text_next(beam_text *t, const char **text, size_t *size)
{
    *text = NULL;
    *size = 0;
    return t->json ? next_row(t, text, size) : next_section(t, text, size);
}
