/* A dense SwiGLU MLP: the feed-forward part of a layer without experts, and the shared expert. */
#ifndef BEAM_MODEL_MLP_H
#define BEAM_MODEL_MLP_H

#include "core/param.h"
#include "model/pass.h"

typedef struct {
    const beam_param *gate_up, *down; /* [2F,D] interleaved, [D,F] */
} beam_mlp;

/* Kept from forward for backward. */
typedef struct {
    beam_tensor gate_up, act; /* [T,2F] [T,F] */
} beam_mlp_saved;

void beam_mlp_layout(beam_mlp_saved *s, int64_t width, beam_dtype real, int64_t tokens, beam_arena *a);

/* y[T,D] = beta * y + mlp(x[T,D]); y absent: only what backward needs. */
void beam_mlp_forward(const beam_pass *p, beam_mlp w, beam_mlp_saved *s, beam_tensor x, beam_tensor y,
                      double beta);

/* From dy[T,D]: gradients of trainable weights +=, and dx[T,D] = beta * dx + ... unless it is absent. */
void beam_mlp_backward(const beam_pass *p, beam_mlp w, const beam_mlp_saved *s, beam_tensor x, beam_tensor dy,
                       beam_tensor dx, double beta);

#endif
