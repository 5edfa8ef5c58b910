/* Hugging Face's tensors <-> ours: which part of which parameter each named tensor is. Loading, export and
 * gradient dumps all walk this one list. */
#ifndef BEAM_MODEL_HF_MAP_H
#define BEAM_MODEL_HF_MAP_H

#include "model/weights.h"

typedef enum {
    BEAM_PART_WHOLE, /* the parameter itself */
    BEAM_PART_GATE,  /* gate rows [F,D] of an interleaved parameter */
    BEAM_PART_UP,    /* up rows [F,D] */
    BEAM_PART_BLOCK, /* one expert's [D,F] of a stacked parameter */
} beam_part;

typedef struct {
    char name[BEAM_NAME_MAX + 16];
    int param; /* index into the model's parameters */
    beam_part part;
    int64_t expert; /* 0 where there is none */
    int ndim;
    int64_t dim[BEAM_MAX_DIM];
} beam_hf_tensor;

typedef struct {
    beam_hf_tensor *at;
    int64_t n;
} beam_hf_map;

/* Every tensor of the model under Hugging Face's name, in the order of the parameters. Free with
 * beam_hf_map_free. */
beam_status beam_hf_map_build(const beam_model_config *c, beam_params params, beam_hf_map *out);
void beam_hf_map_free(beam_hf_map *map);

/* Number of elements of t. */
int64_t beam_hf_count(const beam_hf_tensor *t);

/* Copies between a parameter's host image and the tensor's own dense elements, `size` bytes each. */
void beam_hf_scatter(const beam_hf_tensor *t, const beam_param *p, void *param, const void *tensor,
                     size_t size);
void beam_hf_gather(const beam_hf_tensor *t, const beam_param *p, const void *param, void *tensor,
                    size_t size);

#endif
