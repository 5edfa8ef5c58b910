#include "model/block.h"

void beam_block_layout(beam_block_saved *s, const beam_model_config *c, int layer, beam_dtype real,
                       int64_t tokens, beam_arena *a)
{
    *s = (beam_block_saved){0};
    s->attention_in = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    s->attention_inverse = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
    s->middle = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    s->mlp_in = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    s->mlp_inverse = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
    beam_attention_layout(&s->attention, c, real, tokens, a);
    if (c->moe_layer[layer])
        beam_moe_layout(&s->moe, c, real, tokens, a);
    else
        beam_mlp_layout(&s->mlp, c->intermediate_size, real, tokens, a);
}

static beam_mlp dense(const beam_mlp_weights *w)
{
    return (beam_mlp){.gate_up = w->gate_up, .down = w->down};
}

void beam_block_forward(const beam_pass *p, const beam_layer_weights *w, beam_block_saved *s, beam_tensor x,
                        beam_tensor y, int moe)
{
    beam_backend *be = p->be;
    const double epsilon = p->config->rms_norm_eps;
    beam_rmsnorm(be, s->attention_in, s->attention_inverse, x, w->attention_norm->value, epsilon);
    beam_copy(be, s->middle, x);
    beam_attention_forward(p, &w->attention, &s->attention, s->attention_in, s->middle);
    beam_rmsnorm(be, s->mlp_in, s->mlp_inverse, s->middle, w->mlp_norm->value, epsilon);
    if (y.data)
        beam_copy(be, y, s->middle);
    if (w->mlp.router)
        beam_moe_forward(p, &w->mlp, &s->moe, s->mlp_in, y, moe);
    else
        beam_mlp_forward(p, dense(&w->mlp), &s->mlp, s->mlp_in, y, 1);
}

void beam_block_backward(const beam_pass *p, const beam_layer_weights *w, const beam_block_saved *s,
                         beam_tensor x, beam_tensor d, bool want_dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dnorm = beam_push(p->scratch, be->real, d.ndim, d.dim);
    if (!want_dx)
        dnorm.data = NULL;
    if (w->mlp.router)
        beam_moe_backward(p, &w->mlp, &s->moe, s->mlp_in, d, dnorm);
    else
        beam_mlp_backward(p, dense(&w->mlp), &s->mlp, s->mlp_in, d, dnorm, 0);
    if (want_dx) {
        beam_rmsnorm_grad(be, d, w->mlp_norm->grad, dnorm, s->middle, w->mlp_norm->value, s->mlp_inverse, 1);
        beam_attention_backward(p, &w->attention, &s->attention, s->attention_in, d, dnorm);
        beam_rmsnorm_grad(be, d, w->attention_norm->grad, dnorm, x, w->attention_norm->value,
                          s->attention_inverse, 1);
    }
    beam_release(p->scratch, mark);
}
