/* HDF5 files as images in memory. HDF5 never touches the file system here: its file driver crashes on a full
 * disk, so an image is built in memory and written with beam_file_write, and a file is read whole, verified,
 * then parsed. Arrays are chunked, compressed with zstd (filter 32015, with its frame checksum) and carry
 * Fletcher32. The first 512 bytes, HDF5's user block, hold the SHA-256 of the rest. */
#ifndef BEAM_DATA_HDF5_IMAGE_H
#define BEAM_DATA_HDF5_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "core/tensor.h"

typedef struct beam_h5 beam_h5;

/* A new empty image. */
beam_status beam_h5_create(beam_h5 **out);

/* Adds an array: dtype f32, f64, i32, i64 or u8. Groups in `name` ("a/b") are created. */
beam_status beam_h5_put(beam_h5 *f, const char *name, beam_tensor t);

/* Adds a string or a 64-bit integer as an attribute of the root group. */
beam_status beam_h5_put_text(beam_h5 *f, const char *name, const char *text);
beam_status beam_h5_put_i64(beam_h5 *f, const char *name, int64_t value);

/* The finished image in new memory (the caller frees it). The file is closed in any case. */
beam_status beam_h5_finish(beam_h5 *f, void **image, size_t *size);

/* Opens an image, which the caller keeps alive until close. `path` is for messages.
 * Everything from outside is distrusted: no plugins, no external storage or links, numeric types only, chunks
 * <= 64 MiB, exact chunk sizes. `error` is the status to use for damage (BEAM_EDATA for token files,
 * BEAM_EMODEL for checkpoints). */
beam_status beam_h5_open(const void *image, size_t size, const char *path, beam_status error, beam_h5 **out);
void beam_h5_close(beam_h5 *f); /* accepts NULL */

/* Number of arrays (at any depth), and the name (valid until close), dtype and shape of each (data NULL). */
int beam_h5_count(const beam_h5 *f);
void beam_h5_at(const beam_h5 *f, int i, const char **name, beam_tensor *shape);

/* Shape of one array; then its elements into t.data, whose dtype and shape must match the file's. */
beam_status beam_h5_shape(beam_h5 *f, const char *name, beam_tensor *shape);
beam_status beam_h5_get(beam_h5 *f, const char *name, beam_tensor t);

/* Attributes of the root group; a text with its zero byte must fit into text[size]. */
beam_status beam_h5_get_text(beam_h5 *f, const char *name, char *text, size_t size);
beam_status beam_h5_get_i64(beam_h5 *f, const char *name, int64_t *value);

#endif
