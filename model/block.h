/* One decoder layer: y = x + attention(norm(x)), then y + feed_forward(norm(y)). */
#ifndef BEAM_MODEL_BLOCK_H
#define BEAM_MODEL_BLOCK_H

#include "model/attention.h"
#include "model/moe.h"

/* Kept from forward for backward (the layer's input is kept by the model). */
typedef struct {
    beam_tensor attention_in, attention_inverse; /* norm(x) [T,D], [T] */
    beam_tensor middle;                          /* x + attention [T,D] */
    beam_tensor mlp_in, mlp_inverse;             /* norm(middle) [T,D], [T] */
    beam_attention_saved attention;
    beam_moe_saved moe; /* one of the two, by the layer's kind */
    beam_mlp_saved mlp;
} beam_block_saved;

void beam_block_layout(beam_block_saved *s, const beam_model_config *c, int layer, beam_dtype real,
                       int64_t tokens, beam_arena *a);

/* y[T,D] (overwritten) from x[T,D]; y absent: only what backward needs. moe counts MoE layers. */
void beam_block_forward(const beam_pass *p, const beam_layer_weights *w, beam_block_saved *s, beam_tensor x,
                        beam_tensor y, int moe);

/* d[T,D] holds dL/dy and becomes dL/dx. want_dx = false: nothing below this layer's feed-forward part trains,
 * so only its own gates' gradients are made and d is left undefined. */
void beam_block_backward(const beam_pass *p, const beam_layer_weights *w, const beam_block_saved *s,
                         beam_tensor x, beam_tensor d, bool want_dx);

#endif
