#include "data/text.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/chat.h"
#include "data/file.h"
#include "data/json.h"
#include "data/lines.h"

struct beam_text {
    char path[1024];
    beam_text_options options;
    bool json;
    beam_text_lines lines; /* the line or document under construction */
    int64_t bad_rows;
    json_t *row; /* holds the document that was handed out last */
    beam_chat chat;
    bool is_chat; /* that document is `chat` */
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
    const beam_status s = beam_source_open(path, beam_path_ends(path, ".zst"), &t->lines.source);
    if (s != BEAM_OK) {
        free(t);
        return s;
    }
    snprintf(t->path, sizeof t->path, "%s", path);
    t->lines.path = t->path;
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
    beam_source_close(t->lines.source);
    json_decref(t->row);
    beam_chat_free(&t->chat);
    free(t->lines.bytes);
    free(t);
}

const beam_chat *beam_text_chat(const beam_text *t)
{
    return t->is_chat ? &t->chat : NULL;
}

int64_t beam_text_bad_rows(const beam_text *t)
{
    return t->bad_rows;
}

uint64_t beam_text_bytes_read(const beam_text *t)
{
    return beam_source_bytes_read(t->lines.source);
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

/* The text of the JSON object in t->row, "" for a conversation; or *text = NULL and what is wrong with it. */
static beam_status row_text(beam_text *t, const char **text, size_t *size, char *wrong, size_t wrong_size)
{
    const json_t *value = json_object_get(t->row, t->options.field);
    const json_t *messages = value ? NULL : json_object_get(t->row, "messages");
    if (messages) {
        BEAM_TRY(beam_chat_read(messages, &t->chat, &t->is_chat, wrong, wrong_size));
        *text = t->is_chat ? "" : NULL;
        return BEAM_OK;
    }
    if (!json_is_object(t->row))
        snprintf(wrong, wrong_size, "not a JSON object");
    else if (!value)
        snprintf(wrong, wrong_size, "no key \"%s\" and no \"messages\"", t->options.field);
    else if (!json_is_string(value))
        snprintf(wrong, wrong_size, "\"%s\" is not a string", t->options.field);
    *size = json_string_length(value);
    *text = json_string_value(value);
    return BEAM_OK;
}

/* The text of the JSON in t->lines.bytes; or *text = NULL and what is wrong with it. */
static beam_status parse_row(beam_text *t, const char **text, size_t *size, char *wrong, size_t wrong_size)
{
    enum { MAX_DEPTH = 1024 }; /* Jansson walks rows recursively */
    json_error_t error;
    const char *excess;
    json_decref(t->row);
    t->row = beam_json_load(t->lines.bytes, t->lines.size, MAX_DEPTH,
                            JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error, &excess);
    *text = NULL;
    if (excess == beam_json_no_memory)
        return BEAM_FAIL(BEAM_ENOMEM, "%s:%lld: %s", t->path, (long long)t->lines.number, excess);
    if (excess)
        snprintf(wrong, wrong_size, "%s", excess);
    else if (!t->row)
        snprintf(wrong, wrong_size, "not JSON: %s (column %d)", error.text, error.column);
    else
        return row_text(t, text, size, wrong, wrong_size);
    return BEAM_OK;
}

static beam_status next_row(beam_text *t, const char **text, size_t *size)
{
    for (;;) {
        char wrong[256];
        bool fits, end;
        t->lines.size = 0;
        BEAM_TRY(beam_text_lines_append(&t->lines, BEAM_TEXT_LINE_MAX, &fits, &end));
        if (end)
            return BEAM_OK;
        if (fits && beam_text_lines_blank(&t->lines))
            continue;
        if (fits)
            BEAM_TRY(parse_row(t, text, size, wrong, sizeof wrong));
        else
            snprintf(wrong, sizeof wrong, "longer than %d MiB", BEAM_TEXT_LINE_MAX >> 20);
        if (*text)
            return BEAM_OK;
        BEAM_TRY(bad_row(t, t->lines.number, wrong));
    }
}

/* Whether the last line of t->lines.bytes, which begins at `from`, is the separator. */
static bool is_separator(const beam_text *t, size_t from)
{
    const char *separator = t->options.separator;
    if (!separator)
        return false;
    size_t n = t->lines.size - from;
    while (n > 0 && (t->lines.bytes[from + n - 1] == '\n' || t->lines.bytes[from + n - 1] == '\r'))
        n--;
    return n == strlen(separator) && memcmp(t->lines.bytes + from, separator, n) == 0;
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
        t->lines.size = 0;
        for (bool fits, separated = false; !separated;) {
            const size_t from = t->lines.size;
            BEAM_TRY(beam_text_lines_append(&t->lines, BEAM_TEXT_DOCUMENT_MAX, &fits, &end));
            if (end)
                break;
            separated = fits && is_separator(t, from);
            lines += !separated;
            if (!fits && t->bad_rows >= t->options.max_bad_rows) /* its end need not be looked for */
                return bad_row(t, t->lines.number, too_long);
            if (!wrong && (!fits || !beam_is_utf8(t->lines.bytes + from, t->lines.size - from))) {
                wrong = fits ? "not UTF-8" : too_long;
                wrong_line = t->lines.number;
            }
            if (wrong || separated) /* the rest of a document given up is only searched for its end */
                t->lines.size = wrong ? 0 : from;
        }
        if (wrong) {
            BEAM_TRY(bad_row(t, wrong_line, wrong));
        } else if (lines > 0) {
            t->lines.bytes[t->lines.size] = '\0'; /* where the separator stood */
            *text = t->lines.bytes;
            *size = t->lines.size;
            return BEAM_OK;
        }
    }
    return BEAM_OK;
}

beam_status beam_text_next(beam_text *t, const char **text, size_t *size)
{
    *text = NULL;
    *size = 0;
    t->is_chat = false;
    return t->json ? next_row(t, text, size) : next_section(t, text, size);
}
