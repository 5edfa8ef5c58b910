/* Hugging Face's tensors <-> ours: which part of which parameter each named tensor is. Loading, export and
 * gradient dumps all walk this one list. */
#ifndef BEAM_MODEL_HF_MAP_H
#define BEAM_MODEL_HF_MAP_H

#include "model/weights.h"

/* How a checkpoint names and stacks experts. */
typedef enum {
    BEAM_HF_PUBLISHED, /* one tensor per expert, as published checkpoints have it; what beam writes */
    BEAM_HF_FUSED,     /* all experts of a layer in one tensor, as transformers 5 holds them in memory */
} beam_hf_layout;

/* How the rows of a tensor stand in the parameter. */
typedef enum {
    BEAM_PART_WHOLE,     /* as they are */
    BEAM_PART_GATE,      /* gate rows [F,D] of an interleaved parameter */
    BEAM_PART_UP,        /* up rows [F,D] */
    BEAM_PART_BLOCK,     /* one expert's [D,F] of a stacked parameter */
    BEAM_PART_ROTARY,    /* the last rotary_dim rows of each head pair neighbours; ours pair halves */
    BEAM_PART_KEY_VALUE, /* each head's key rows and value rows; ours are all keys, then all values */
} beam_part;

/* A run of whole rows of one tensor of the checkpoint, and where they go. In the published layout that is
 * always the whole tensor. */
typedef struct {
    char name[BEAM_NAME_MAX + 16]; /* of the tensor */
    int ndim;
    int64_t dim[BEAM_MAX_DIM]; /* of the tensor */
    int64_t first;             /* element of the tensor at which the run starts */
    int64_t rows, row;         /* the run: rows of `row` elements */
    int param;                 /* index into the model's parameters */
    beam_part part;
    int64_t expert; /* 0 where there is none */
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
