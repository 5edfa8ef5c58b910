/* The feed-forward part of a layer that is a mixture of experts, with mask gates and, in some families, an
 * expert that all tokens share.
 *
 * Only kept pairs run in the forward pass, whether or not a backward pass follows; with soft masks all are
 * kept in this sense. The straight-through gradient of a dropped pair needs
 * a = <dy, E(x)> = <W_down^T dy, swiglu(W x)>: the backward pass makes the two short vectors of every pair,
 * and no output. All else (dgrad, wgrad) runs over kept pairs only, which is exact. */
#ifndef BEAM_MODEL_MOE_H
#define BEAM_MODEL_MOE_H

#include "model/mlp.h"
#include "model/weights.h"

/* Kept from forward for backward. */
typedef struct {
    beam_route route;
    beam_tensor prob;                     /* [T,E+N] softmax of the router */
    beam_tensor rows_gate_up;             /* [R,2F] of the pairs that ran, where all experts are here */
    beam_mlp_saved shared;                /* where there is a shared expert */
    beam_tensor shared_out, shared_score; /* [T,D] [T,1], where it is gated */
} beam_moe_saved;

void beam_moe_layout(beam_moe_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                     beam_arena *a);

/* y[T,D] += mixture(x[T,D]) as layer `moe` among its kind; y absent: only what backward needs. */
void beam_moe_forward(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                      beam_tensor y, int moe);

/* From dy[T,D]: gradients of trainable weights +=, and dx[T,D] (overwritten) unless it is absent. Uses up
 * what is saved. */
void beam_moe_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s, beam_tensor x,
                       beam_tensor dy, beam_tensor dx);

#endif
