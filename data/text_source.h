/* Bytes of a file, as they are or decompressed with zstd, through a window of fixed size. */
#ifndef BEAM_DATA_TEXT_SOURCE_H
#define BEAM_DATA_TEXT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

typedef struct beam_source beam_source;

/* BEAM_EIO if it cannot be opened. */
beam_status beam_source_open(const char *path, bool compressed, beam_source **out);
void beam_source_close(beam_source *s); /* accepts NULL */

/* The bytes that come next, at least one, valid until the next peek; *n = 0 at the end. BEAM_EIO if reading
 * fails, BEAM_EDATA if the compressed data is damaged, ends early, or needs a window above 128 MiB. */
beam_status beam_source_peek(beam_source *s, const char **bytes, size_t *n);

/* Passes over the first n of the bytes seen last. */
void beam_source_skip(beam_source *s, size_t n);

/* Text that grows, followed by a zero byte. Zero-initialise; the owner frees `bytes`. */
typedef struct {
    char *bytes;
    size_t size, room;
} beam_buffer;

/* Appends the next line with its newline to `to`, which may grow to `limit` bytes. *fits is false, and the
 * line is not read to its end, if it does not fit: a line of any length takes bounded memory. *end: there was
 * no line.
 */
beam_status beam_source_line(beam_source *s, size_t limit, beam_buffer *to, bool *fits, bool *end);

/* Passes over what is left of a line that did not fit. */
beam_status beam_source_skip_line(beam_source *s);

/* Bytes of the file read so far. */
uint64_t beam_source_bytes_read(const beam_source *s);

#endif
