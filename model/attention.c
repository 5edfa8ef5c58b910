#include "model/attention.h"

#include "model/linear.h"

void beam_attention_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real,
                           int64_t tokens, beam_arena *a)
{
    if (c->kv_rank > 0)
        beam_latent_layout(s, c, real, tokens, a);
    else
        beam_grouped_layout(s, c, real, tokens, a);
    s->out = beam_push(a, real, BEAM_DIMS(tokens, c->heads, c->value_dim));
    s->lse = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens, c->heads));
}

static beam_attention_rule rule_of(const beam_pass *p, const beam_attention_weights *w)
{
    return (beam_attention_rule){.scale = p->config->score_scale, .window = w->window};
}

void beam_attention_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                            beam_tensor x, beam_tensor y)
{
    beam_backend *be = p->be;
    if (w->kv_down)
        beam_latent_forward(p, w, s, x);
    else
        beam_grouped_forward(p, w, s, x);
    beam_attention(be, s->out, s->lse, s->q.out, s->k.out, s->v, p->sequences, rule_of(p, w));
    beam_linear_forward(be, beam_linear_of(w->o, w->o_bias), beam_flat_heads(s->out), y, 1);
}

void beam_attention_backward(const beam_pass *p, const beam_attention_weights *w,
                             const beam_attention_saved *s, beam_tensor x, beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dq = beam_push(p->scratch, be->real, s->q.out.ndim, s->q.out.dim);
    beam_tensor dk = beam_push(p->scratch, be->real, s->k.out.ndim, s->k.out.dim);
    beam_tensor dv = beam_push(p->scratch, be->real, s->v.ndim, s->v.dim);
    const size_t inner = beam_mark(p->scratch);
    beam_tensor dout = beam_push(p->scratch, be->real, s->out.ndim, s->out.dim);
    beam_linear_backward(be, beam_linear_of(w->o, w->o_bias), beam_flat_heads(s->out), dy,
                         beam_flat_heads(dout), 0);
    beam_attention_grad(be, dq, dk, dv, dout, s->out, s->lse, s->q.out, s->k.out, s->v, p->sequences,
                        rule_of(p, w));
    beam_release(p->scratch, inner); /* dout is spent */
    if (w->kv_down)
        beam_latent_backward(p, w, s, x, dq, dk, dv, dx);
    else
        beam_grouped_backward(p, w, s, x, dq, dk, dv, dx);
    beam_release(p->scratch, mark);
}
