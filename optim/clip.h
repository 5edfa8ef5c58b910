/* Gradient clipping by global norm. */
#ifndef BEAM_OPTIM_CLIP_H
#define BEAM_OPTIM_CLIP_H

#include "kernels/ops.h"

/* The Euclidean norm of all gradients, in a fixed order. `sum` is a f64 [1] tensor on the device to work in.
 * Waits. */
beam_status beam_grad_norm(beam_backend *be, beam_tensor grads, beam_tensor sum, double *norm);

/* What gradients are multiplied by so that their norm does not exceed max_norm (<= 0: no limit). */
double beam_clip_scale(double norm, double max_norm);

#endif
