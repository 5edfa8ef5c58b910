/* The feed-forward part of a layer that is a mixture of experts, with mask gates and, in some families, an
 * expert that all tokens share.
 *
 * Training computes every candidate's expert output, because the straight-through gradient of a dropped pair
 * needs a = <dy, E(x)>; all else (dgrad, wgrad) runs over kept pairs only, which is exact. Without gradients
 * only kept pairs run at all. */
#ifndef BEAM_MODEL_MOE_H
#define BEAM_MODEL_MOE_H

#include "model/mlp.h"
#include "model/weights.h"

/* Kept from forward for backward. */
typedef struct {
    beam_route route;
    beam_tensor prob;                     /* [T,E+N] softmax of the router */
    beam_tensor rows_x;                   /* [R,D] the pairs' inputs, grouped by expert */
    beam_tensor rows_gate_up;             /* [R,2F], where all experts are here */
    beam_tensor rows_act;                 /* [R,F], as well */
    beam_tensor rows_out;                 /* [R,D] */
    beam_mlp_saved shared;                /* where there is a shared expert */
    beam_tensor shared_out, shared_score; /* [T,D] [T,1], where it is gated */
} beam_moe_saved;

void beam_moe_layout(beam_moe_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                     beam_arena *a);

/* y[T,D] += mixture(x[T,D]). complete: what backward needs is kept, with masks all candidates' outputs;
 * otherwise kept pairs only. stats: f64 [BEAM_STAT_EXPERTS + E] +=. */
void beam_moe_forward(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                      beam_tensor y, beam_tensor stats, bool complete);

/* From dy[T,D]: gradients of trainable weights +=, and dx[T,D] (overwritten) unless it is absent. */
void beam_moe_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s, beam_tensor x,
                       beam_tensor dy, beam_tensor dx);

#endif
