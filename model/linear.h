/* A linear map y = x W^T + b over rows, and its backward pass. W and b may be parameters or runs of their
 * rows. */
#ifndef BEAM_MODEL_LINEAR_H
#define BEAM_MODEL_LINEAR_H

#include "core/param.h"
#include "kernels/ops.h"

/* Gradients are absent (data NULL) where the parameter does not train. */
typedef struct {
    beam_tensor weight, dweight; /* [N,M] */
    beam_tensor bias, dbias;     /* [N]; absent: none */
} beam_linear;

/* A whole parameter; bias may be NULL. */
beam_linear beam_linear_of(const beam_param *weight, const beam_param *bias);

/* Rows [first, first + n) of a parameter, without a bias. */
beam_linear beam_linear_rows(const beam_param *weight, int64_t first, int64_t n);

/* y[T,N] = beta * y + x[T,M] W^T + b. */
void beam_linear_forward(beam_backend *be, beam_linear w, beam_tensor x, beam_tensor y, double beta);

/* From dy[T,N]: dW += dy^T x and db += where they train; dx[T,M] = beta * dx + dy W unless dx is absent. */
void beam_linear_backward(beam_backend *be, beam_linear w, beam_tensor x, beam_tensor dy, beam_tensor dx,
                          double beta);

#endif
