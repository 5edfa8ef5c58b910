/* Self-attention: projections to queries, keys and values (grouped-query or latent), attention, output
 * projection. */
#ifndef BEAM_MODEL_ATTENTION_H
#define BEAM_MODEL_ATTENTION_H

#include "model/pass.h"
#include "model/weights.h"

/* The way of queries, or of keys, through a grouped projection: x W^T -> norm -> clip -> rotate. Steps that
 * a family lacks share the tensor of the step before. */
typedef struct {
    beam_tensor raw;     /* [T,heads,Dh] before the norm */
    beam_tensor inverse; /* of the norm */
    beam_tensor still;   /* before the rotation; of its own only where values are clipped */
    beam_tensor out;     /* what attention sees */
} beam_heads_saved;

/* A compressed input of latent attention. */
typedef struct {
    beam_tensor raw, inverse, out; /* [T,R] before and after its norm */
} beam_latent_saved;

/* Kept from forward for backward. */
typedef struct {
    beam_heads_saved q, k;              /* latent: only out */
    beam_latent_saved q_latent, latent; /* latent: of queries (if compressed), of keys and values */
    beam_tensor v;                      /* [T,G,Dv] */
    beam_tensor out, lse;               /* [T,H,Dv] [T,H] */
} beam_attention_saved;

void beam_attention_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real,
                           int64_t tokens, beam_arena *a);

/* y[T,D] += attention(x[T,D]). */
void beam_attention_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                            beam_tensor x, beam_tensor y);

/* dx[T,D] (overwritten) from dy[T,D]; gradients of trainable weights +=. */
void beam_attention_backward(const beam_pass *p, const beam_attention_weights *w,
                             const beam_attention_saved *s, beam_tensor x, beam_tensor dy, beam_tensor dx);

/* The published models take the norms of the latents with this epsilon, whatever rms_norm_eps says. */
static inline double beam_latent_epsilon(void)
{
    return 1e-6;
}

/* The two kinds of projection. Forward fills s->q.out, s->k.out and s->v from x; backward makes dx
 * (overwritten) from their gradients, which it may change. */
void beam_grouped_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                         beam_arena *a);
void beam_grouped_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                          beam_tensor x);
void beam_grouped_backward(const beam_pass *p, const beam_attention_weights *w, const beam_attention_saved *s,
                           beam_tensor x, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dx);
void beam_latent_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                        beam_arena *a);
void beam_latent_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                         beam_tensor x);
void beam_latent_backward(const beam_pass *p, const beam_attention_weights *w, const beam_attention_saved *s,
                          beam_tensor x, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dx);

/* [T,heads,Dh] as [T, heads*Dh]. */
static inline beam_tensor beam_flat_heads(beam_tensor t)
{
    return beam_reshape(t, BEAM_DIMS(t.dim[0], t.dim[1] * t.dim[2]));
}

#endif
