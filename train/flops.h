/* Floating-point operations of a model, counted from its shape: multiply-adds of matrix products and
 * attention, each as two operations. Norms, rotations, what dropped experts give back and the like are left
 * out, as is usual. */
#ifndef BEAM_TRAIN_FLOPS_H
#define BEAM_TRAIN_FLOPS_H

#include "model/weights.h"

typedef struct {
    double forward, backward; /* of one token */
} beam_flops;

/* One token of a pass over sequences of `sequence` tokens, when `active` of the K candidates are kept. Where
 * masks train, the backward pass makes of dropped candidates what their gates need, which is as much work as
 * their forward pass; dgrad (and wgrad where `scope` trains the experts) is of kept ones. Recomputation
 * (gradient checkpointing) does not count. */
beam_flops beam_flops_of(const beam_model_config *c, beam_scope scope, double sequence, double active);

/* Of one mixture layer in the middle of a model: its backward pass goes on below it. */
beam_flops beam_flops_of_mixture(const beam_model_config *c, beam_scope scope, double active);

#endif
