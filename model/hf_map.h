/* Hugging Face's tensors <-> ours: which part of which parameter each named tensor is. Loading, export and
 * gradient dumps all walk this one list, a bounded number of rows at a time: none of them needs a host image
 * of a parameter.
 *
 *     for (int64_t r = 0, n; r < t->rows; r += n) {
 *         n = beam_hf_chunk(t, r);
 *         ... rows [r, r + n) of the run into float rows[n * t->row] ...
 *         BEAM_TRY(beam_hf_put(be, t, param->value, r, n, rows));
 *     }
 */
#ifndef BEAM_MODEL_HF_MAP_H
#define BEAM_MODEL_HF_MAP_H

#include "data/safetensors.h"
#include "model/weights.h"

/* How a checkpoint names and stacks experts. */
typedef enum {
    BEAM_HF_PUBLISHED, /* one tensor per expert, as published checkpoints have it; what beam writes */
    BEAM_HF_FUSED,     /* all experts of a layer in one tensor, as transformers 5 holds them in memory */
} beam_hf_layout;

/* How the rows of a run stand in the parameter. */
typedef enum {
    BEAM_PART_WHOLE,     /* as they are: all of the parameter, or one expert's [D,F] of a stacked one */
    BEAM_PART_GATE,      /* gate rows [F,D] of an interleaved parameter */
    BEAM_PART_UP,        /* up rows [F,D] */
    BEAM_PART_ROTARY,    /* the last rotary_dim rows of each head pair neighbours; ours pair halves */
    BEAM_PART_KEY_VALUE, /* each head's key rows and value rows; ours are all keys, then all values */
} beam_part;

/* A run of whole rows of one tensor of the checkpoint, and where they go. In the published layout that is
 * always the whole tensor; the runs of a fused one follow each other. */
typedef struct {
    char name[BEAM_NAME_MAX + 16]; /* of the tensor */
    int ndim;
    int64_t dim[BEAM_MAX_DIM]; /* of the tensor */
    int64_t first;             /* element of the tensor at which the run starts */
    int64_t rows, row;         /* the run: rows of `row` elements; a vector is one row */
    int param;                 /* index into the model's parameters */
    beam_part part;
    int64_t expert;      /* of those held; 0 where there is none */
    int64_t head, split; /* rotary, key/value: rows of a head, and how many come before its rotary or value
                            rows; else 0 */
} beam_hf_tensor;

typedef struct {
    beam_hf_tensor *at;
    int64_t n;
} beam_hf_map;

/* The layout of the tensors in `file`, read from `folder`. BEAM_EMODEL if they are in both layouts. */
beam_status beam_hf_layout_of(const beam_weights *file, const char *folder, beam_hf_layout *out);

/* Every tensor of the model under Hugging Face's name (null experts are in none, nor are experts that another
 * rank holds), in the order of the parameters: in both layouts the same runs in the same order. Free with
 * beam_hf_map_free. */
beam_status beam_hf_map_build(const beam_model_config *c, beam_params params, beam_hf_layout layout,
                              beam_hf_map *out);
void beam_hf_map_free(beam_hf_map *map);

enum { BEAM_HF_CHUNK = 1 << 20 }; /* elements that are moved at a time, if a row has no more */

/* Number of elements of the longest chunk that any run of the map needs. */
int64_t beam_hf_longest_chunk(const beam_hf_map *map);

/* Rows from row `first` of t on that make a chunk: at least one. */
int64_t beam_hf_chunk(const beam_hf_tensor *t, int64_t first);

/* Copies rows [first, first + n) of t between host memory, float [n,row], and the device: `param` is the
 * value or the gradient of parameter t->param. `get` is the inverse of `put`. Both wait for the device. */
beam_status beam_hf_put(beam_backend *be, const beam_hf_tensor *t, beam_tensor param, int64_t first,
                        int64_t n, const float *rows);
beam_status beam_hf_get(beam_backend *be, const beam_hf_tensor *t, beam_tensor param, int64_t first,
                        int64_t n, float *rows);

#endif
