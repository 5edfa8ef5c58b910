/* The end of the model: final norm, vocabulary projection, cross-entropy. Logits are made for a chunk of
 * tokens at a time and turned into their own gradient in place, so [T,V] is never stored. */
#ifndef BEAM_MODEL_HEAD_H
#define BEAM_MODEL_HEAD_H

#include "model/pass.h"
#include "model/weights.h"

typedef struct {
    beam_tensor in, inverse;         /* norm(x) [T,D], [T] */
    beam_tensor din;                 /* dL/d(norm(x)) [T,D]; absent without gradients */
    beam_tensor loss, correct;       /* wide [T], u8 [T] */
    beam_tensor teacher, divergence; /* `in` of the teacher [T,D], wide [T]; absent without one */
} beam_head_saved;

/* loss, correct and divergence, which the host reads after a pass; then the rest. */
void beam_head_layout_losses(beam_head_saved *s, beam_dtype real, int64_t tokens, bool teacher,
                             beam_arena *a);
void beam_head_layout(beam_head_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                      bool train, bool teacher, beam_arena *a);

/* Takes x[T,D] for what the teacher of the coming passes with gradients says. */
void beam_head_teach(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s, beam_tensor x);

/* Rows of logits that are held at a time. */
int64_t beam_head_chunk(const beam_model_config *c);

/* logits[n,V] from rows in[n,D] of s->in or s->teacher. */
void beam_head_logits(beam_backend *be, const beam_model_weights *w, beam_tensor in, beam_tensor logits);

/* Token losses of x[T,D]; with args->want_grad, which needs a layout for training, also din and the gradient
 * of a trainable projection (+=), and with a weight the divergence from the teacher. */
void beam_head_forward(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s, beam_tensor x,
                       beam_tensor target, const beam_distill_args *args);

/* dx[T,D] (overwritten); gradient of a trainable norm (+=). */
void beam_head_backward(const beam_pass *p, const beam_model_weights *w, const beam_head_saved *s,
                        beam_tensor x, beam_tensor dx);

#endif
