/* Lines of a file, of bounded length, through a beam_source. */
#ifndef BEAM_DATA_LINES_H
#define BEAM_DATA_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "data/text_source.h"

typedef struct {
    const char *path; /* for messages */
    beam_source *source;
    char *bytes; /* what was read, followed by a zero byte; free it */
    size_t size, room;
    int64_t number;  /* of the line read last, from 1 */
    bool unfinished; /* it did not fit, and its rest is still to come */
} beam_text_lines;

/* Appends the next line with its newline to l->bytes, which may grow to `limit` bytes. Of a line that does
 * not fit nothing is kept, and *fits is false; its rest is passed over by the next call, so that a line of
 * any length takes no longer than its limit to be refused. *end: there was no line. BEAM_ENOMEM, or what
 * beam_source_peek fails with. */
beam_status beam_text_lines_append(beam_text_lines *l, size_t limit, bool *fits, bool *end);

/* Whether there is nothing but blanks and ends of lines. */
bool beam_text_lines_blank(const beam_text_lines *l);

#endif
