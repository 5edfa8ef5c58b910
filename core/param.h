/* Named parameters: all that the optimizer, clipping, all-reduce, checkpoint and export know of a model. */
#ifndef BEAM_CORE_PARAM_H
#define BEAM_CORE_PARAM_H

#include "core/tensor.h"

enum {
    BEAM_TRAIN = 1u << 0,     /* has a gradient and is updated */
    BEAM_DECAY = 1u << 1,     /* weight decay applies (matrices, not norms or biases) */
    BEAM_MASK_GATE = 1u << 2, /* belongs to a mask gate, not to the base model */
    BEAM_TRAINED = 1u << 3,   /* its values come from a run */
};

enum { BEAM_NAME_MAX = 96 };

typedef struct {
    char name[BEAM_NAME_MAX]; /* Hugging Face's name; experts of a layer are stacked under one name */
    beam_tensor value;
    beam_tensor grad; /* data is NULL unless BEAM_TRAIN */
    unsigned flags;
} beam_param;

typedef struct {
    beam_param *at;
    int n;
} beam_params;

#endif
