/* Gradient clipping by global norm. */
#ifndef BEAM_OPTIM_CLIP_H
#define BEAM_OPTIM_CLIP_H

#include "core/span.h"
#include "kernels/ops.h"

/* The sum of squares of each of the spans of a block, 0 of an empty one: sums f64 [n], on the device. Its
 * bits depend on what stands in the span alone. */
void beam_grad_squares(beam_backend *be, beam_tensor grads, const beam_span *spans, int64_t n,
                       beam_tensor sums);

/* The Euclidean norm from sums of squares, which are added in their order. */
double beam_grad_norm(const double *squares, int64_t n);

/* What gradients are multiplied by so that their norm does not exceed max_norm (<= 0: no limit). */
double beam_clip_scale(double norm, double max_norm);

#endif
