/* safetensors files: one file, or a folder with one or many (model.safetensors.index.json).
 * The reader trusts nothing: header size, JSON, dtypes, shapes, offsets (contiguous, no holes, no overlap,
 * exact file length), names and shard paths are checked before any byte of data is used.
 *
 *     beam_weights *w;
 *     BEAM_TRY(beam_weights_open("model/", &w));
 *     const beam_weight *t = beam_weights_find(w, "lm_head.weight");
 *     if (t) status = beam_weights_read_f32(w, t, buffer);
 *     beam_weights_close(w);
 */
#ifndef BEAM_DATA_SAFETENSORS_H
#define BEAM_DATA_SAFETENSORS_H

#include "core/status.h"
#include "core/tensor.h"

typedef struct {
    const char *name;
    beam_dtype dtype;
    int ndim;
    int64_t dim[BEAM_MAX_DIM];
    uint64_t offset; /* of the data within its file */
    uint64_t bytes;
    int file; /* index of the shard */
} beam_weight;

typedef struct beam_weights beam_weights;

/* `path`: a .safetensors file, or a folder holding model.safetensors or model.safetensors.index.json with its
 * shards (plain names inside the folder only). BEAM_EMODEL if anything is wrong, BEAM_EIO if a file cannot be
 * read. */
beam_status beam_weights_open(const char *path, beam_weights **out);
void beam_weights_close(beam_weights *w); /* accepts NULL */

/* All tensors, sorted by name. */
int64_t beam_weights_count(const beam_weights *w);
const beam_weight *beam_weights_at(const beam_weights *w, int64_t i);
const beam_weight *beam_weights_find(const beam_weights *w, const char *name); /* NULL if absent */

/* The path of the file that holds t: for messages. */
const char *beam_weights_file(const beam_weights *w, const beam_weight *t);

/* Reads all elements, converted to float (from F32, BF16, F16, F64) into out[count]; or the bytes as they
 * are. _at: only `count` elements from `first` on. */
beam_status beam_weights_read_f32(const beam_weights *w, const beam_weight *t, float *out);
beam_status beam_weights_read_f32_at(const beam_weights *w, const beam_weight *t, int64_t first,
                                     int64_t count, float *out);
beam_status beam_weights_read_raw(const beam_weights *w, const beam_weight *t, void *out);
beam_status beam_weights_read_raw_at(const beam_weights *w, const beam_weight *t, int64_t first,
                                     int64_t count, void *out);

/* ---- writing ---- */

/* One tensor to write: `fill` is called once, in the order of the file, with a buffer of its bytes; it
 * returns a status. So that a model larger than memory can be written tensor by tensor. */
typedef struct {
    char name[160];
    beam_dtype dtype;
    int ndim;
    int64_t dim[BEAM_MAX_DIM];
    beam_status (*fill)(void *context, int64_t item, void *bytes);
    void *context;
    int64_t item;
} beam_weight_source;

/* Writes one file (header padded to 8 bytes, tensors in the given order but wider elements first, so that
 * each is aligned, "format": "pt"): beside `path`, synchronised, renamed. BEAM_EIO, with nothing left behind,
 * if that fails. */
beam_status beam_safetensors_write(const char *path, const beam_weight_source *tensors, int64_t n);

/* Writes model.safetensors, or shards of at most shard_bytes with model.safetensors.index.json, into `dir`.
 */
beam_status beam_safetensors_write_folder(const char *dir, const beam_weight_source *tensors, int64_t n,
                                          uint64_t shard_bytes);

#endif
