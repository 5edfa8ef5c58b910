#include "data/lines.h"

#include <stdlib.h>
#include <string.h>

static beam_status append(beam_text_lines *l, const char *bytes, size_t n)
{
    if (l->size + n + 1 > l->room) {
        const size_t room = 2 * (l->size + n + 1);
        char *p = realloc(l->bytes, room);
        if (!p)
            return BEAM_FAIL(BEAM_ENOMEM, "%s:%lld: no memory for %zu bytes", l->path, (long long)l->number,
                             l->size + n);
        l->bytes = p;
        l->room = room;
    }
    memcpy(l->bytes + l->size, bytes, n);
    l->size += n;
    l->bytes[l->size] = '\0';
    return BEAM_OK;
}

/* The bytes up to the end of the line, or as many of them as there are now; *n = 0 at the end of the file. */
static beam_status peek(beam_text_lines *l, const char **bytes, size_t *n, bool *newline)
{
    BEAM_TRY(beam_source_peek(l->source, bytes, n));
    const char *stop = *n ? memchr(*bytes, '\n', *n) : NULL;
    *newline = stop != NULL;
    *n = stop ? (size_t)(stop - *bytes) + 1 : *n;
    return BEAM_OK;
}

static beam_status finish(beam_text_lines *l)
{
    while (l->unfinished) {
        const char *bytes;
        size_t n;
        bool newline;
        BEAM_TRY(peek(l, &bytes, &n, &newline));
        beam_source_skip(l->source, n);
        l->unfinished = n > 0 && !newline;
    }
    return BEAM_OK;
}

beam_status beam_text_lines_append(beam_text_lines *l, size_t limit, bool *fits, bool *end)
{
    const size_t before = l->size;
    BEAM_TRY(finish(l));
    *fits = true;
    *end = true;
    for (bool newline = false; !newline && *fits;) {
        const char *bytes;
        size_t n;
        BEAM_TRY(peek(l, &bytes, &n, &newline));
        if (n == 0)
            break;
        l->number += *end;
        *end = false;
        *fits = n <= limit - l->size;
        if (*fits) {
            BEAM_TRY(append(l, bytes, n));
            beam_source_skip(l->source, n);
        }
    }
    l->unfinished = !*fits;
    l->size = *fits ? l->size : before;
    return BEAM_OK;
}

bool beam_text_lines_blank(const beam_text_lines *l)
{
    for (size_t i = 0; i < l->size; i++)
        if (l->bytes[i] != ' ' && l->bytes[i] != '\t' && l->bytes[i] != '\r' && l->bytes[i] != '\n')
            return false;
    return true;
}
