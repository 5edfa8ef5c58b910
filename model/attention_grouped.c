/* Grouped-query projections (Ainslie et al. 2023, arXiv:2305.13245), with what families add: biases, norms of
 * queries and keys (per head or over the whole projection), clipping. */
#include "model/attention.h"
#include "model/linear.h"

static void layout_heads(beam_heads_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                         int64_t heads, beam_arena *a)
{
    const int64_t rows = c->qk_norm == BEAM_QK_NORM_HEAD ? tokens * heads : tokens;
    s->out = beam_push(a, real, BEAM_DIMS(tokens, heads, c->head_dim));
    s->still = c->qkv_limit > 0 ? beam_push(a, real, s->out.ndim, s->out.dim) : s->out;
    s->raw = s->still;
    if (c->qk_norm != BEAM_QK_NORM_NONE) {
        s->raw = beam_push(a, real, s->out.ndim, s->out.dim);
        s->inverse = beam_push(a, beam_wide_of(real), BEAM_DIMS(rows));
    }
}

void beam_grouped_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                         beam_arena *a)
{
    layout_heads(&s->q, c, real, tokens, c->heads, a);
    layout_heads(&s->k, c, real, tokens, c->kv_heads, a);
    s->v = beam_push(a, real, BEAM_DIMS(tokens, c->kv_heads, c->head_dim));
}

/* As the rows that the norm is taken over: heads, or whole projections. */
static beam_tensor norm_rows(beam_tensor t, const beam_param *norm)
{
    return norm->value.dim[0] == t.dim[2] ? t : beam_flat_heads(t);
}

static void heads_forward(const beam_pass *p, const beam_heads_saved *s, beam_linear w,
                          const beam_param *norm, beam_tensor x)
{
    beam_backend *be = p->be;
    beam_linear_forward(be, w, x, beam_flat_heads(s->raw), 0);
    if (norm)
        beam_rmsnorm(be, norm_rows(s->still, norm), s->inverse, norm_rows(s->raw, norm), norm->value,
                     p->config->rms_norm_eps);
    if (p->config->qkv_limit > 0) {
        beam_clip(be, s->still, p->config->qkv_limit);
        beam_copy(be, s->out, s->still);
    }
    beam_rope(be, s->out, p->cosine, p->sine, p->position, false);
}

void beam_grouped_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                          beam_tensor x)
{
    heads_forward(p, &s->q, beam_linear_of(w->q, w->q_bias), w->q_norm, x);
    heads_forward(p, &s->k, beam_linear_of(w->k, w->k_bias), w->k_norm, x);
    beam_linear_forward(p->be, beam_linear_of(w->v, w->v_bias), x, beam_flat_heads(s->v), 0);
    if (p->config->qkv_limit > 0)
        beam_clip(p->be, s->v, p->config->qkv_limit);
}

/* d: gradient of s->out, changed on the way. dx = beta * dx + ... */
static void heads_backward(const beam_pass *p, const beam_heads_saved *s, beam_linear w,
                           const beam_param *norm, beam_tensor x, beam_tensor d, beam_tensor dx, double beta)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_rope(be, d, p->cosine, p->sine, p->position, true);
    if (p->config->qkv_limit > 0)
        beam_clip_grad(be, d, s->still, p->config->qkv_limit);
    if (norm) {
        beam_tensor draw = beam_push(p->scratch, be->real, d.ndim, d.dim);
        beam_rmsnorm_grad(be, norm_rows(draw, norm), norm->grad, norm_rows(d, norm), norm_rows(s->raw, norm),
                          norm->value, s->inverse, 0);
        d = draw;
    }
    beam_linear_backward(be, w, x, beam_flat_heads(d), dx, beta);
    beam_release(p->scratch, mark);
}

void beam_grouped_backward(const beam_pass *p, const beam_attention_weights *w, const beam_attention_saved *s,
                           beam_tensor x, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dx)
{
    heads_backward(p, &s->q, beam_linear_of(w->q, w->q_bias), w->q_norm, x, dq, dx, 0);
    heads_backward(p, &s->k, beam_linear_of(w->k, w->k_bias), w->k_norm, x, dk, dx, 1);
    if (p->config->qkv_limit > 0)
        beam_clip_grad(p->be, dv, s->v, p->config->qkv_limit);
    beam_linear_backward(p->be, beam_linear_of(w->v, w->v_bias), x, beam_flat_heads(dv), dx, 1);
}
