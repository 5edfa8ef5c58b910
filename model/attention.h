/* Grouped-query attention with normalised queries and keys (Qwen3): projections, norms, rotation, attention.
 */
#ifndef BEAM_MODEL_ATTENTION_H
#define BEAM_MODEL_ATTENTION_H

#include "model/pass.h"
#include "model/weights.h"

/* Kept from forward for backward. */
typedef struct {
    beam_tensor q_raw, k_raw;         /* before the norm [T,H,Dh] [T,G,Dh] */
    beam_tensor q_inverse, k_inverse; /* of the norms [T*H] [T*G] */
    beam_tensor q, k, v;              /* after norm and rotation */
    beam_tensor out, lse;             /* [T,H,Dh] [T,H] */
} beam_attention_saved;

void beam_attention_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real,
                           int64_t tokens, beam_arena *a);

/* y[T,D] += attention(x[T,D]). */
void beam_attention_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                            beam_tensor x, beam_tensor y);

/* dx[T,D] (overwritten) from dy[T,D]; gradients of trainable weights +=. */
void beam_attention_backward(const beam_pass *p, const beam_attention_weights *w,
                             const beam_attention_saved *s, beam_tensor x, beam_tensor dy, beam_tensor dx);

#endif
