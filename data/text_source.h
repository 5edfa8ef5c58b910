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

/* Bytes of the file read so far. */
uint64_t beam_source_bytes_read(const beam_source *s);

#endif
