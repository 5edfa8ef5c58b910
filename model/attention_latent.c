/* Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): keys and values are made from one
 * small latent per token, queries too where they are compressed; positions rotate only the last numbers of
 * each query and one key part that all heads share. */
#include "model/attention.h"
#include "model/linear.h"

static void layout_latent(beam_latent_saved *s, beam_dtype real, int64_t tokens, int64_t rank, beam_arena *a)
{
    s->raw = beam_push(a, real, BEAM_DIMS(tokens, rank));
    s->inverse = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
    s->out = beam_push(a, real, BEAM_DIMS(tokens, rank));
}

void beam_latent_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                        beam_arena *a)
{
    if (c->query_rank > 0)
        layout_latent(&s->q_latent, real, tokens, c->query_rank, a);
    layout_latent(&s->latent, real, tokens, c->kv_rank, a);
    s->q.out = beam_push(a, real, BEAM_DIMS(tokens, c->heads, c->head_dim));
    s->k.out = beam_push(a, real, BEAM_DIMS(tokens, c->heads, c->head_dim));
    s->v = beam_push(a, real, BEAM_DIMS(tokens, c->heads, c->value_dim));
}

static void compress(beam_backend *be, const beam_latent_saved *s, beam_linear down, const beam_param *norm,
                     beam_tensor x)
{
    beam_linear_forward(be, down, x, s->raw, 0);
    beam_rmsnorm(be, s->out, s->inverse, s->raw, norm->value, beam_latent_epsilon());
}

/* dx = beta * dx + ..., from dlatent = dL/d(s->out), which is spent. */
static void compress_backward(const beam_pass *p, const beam_latent_saved *s, beam_linear down,
                              const beam_param *norm, beam_tensor x, beam_tensor dlatent, beam_tensor dx,
                              double beta)
{
    const size_t mark = beam_mark(p->scratch);
    beam_tensor draw = beam_push(p->scratch, p->be->real, dlatent.ndim, dlatent.dim);
    beam_rmsnorm_grad(p->be, draw, norm->grad, dlatent, s->raw, norm->value, s->inverse, 0);
    beam_linear_backward(p->be, down, x, draw, dx, beta);
    beam_release(p->scratch, mark);
}

/* The rows of the parameters that hold two maps. */
typedef struct {
    beam_linear latent, rotated; /* of kv_down: the latent, the shared part of the keys */
    beam_linear keys, values;    /* of kv_up: each head's own part of its key, its value */
    int64_t own;                 /* numbers in that part */
} kv_maps;

static kv_maps split(const beam_model_config *c, const beam_attention_weights *w)
{
    const int64_t own = c->head_dim - c->rotary_dim, keys = c->heads * own;
    return (kv_maps){
        .latent = beam_linear_rows(w->kv_down, 0, c->kv_rank),
        .rotated = beam_linear_rows(w->kv_down, c->kv_rank, c->rotary_dim),
        .keys = beam_linear_rows(w->kv_up, 0, keys),
        .values = beam_linear_rows(w->kv_up, keys, c->heads * c->value_dim),
        .own = own,
    };
}

static beam_tensor as_one_head(beam_tensor t) /* [T,R] as [T,1,R] */
{
    return beam_reshape(t, BEAM_DIMS(t.dim[0], 1, t.dim[1]));
}

static void queries_forward(const beam_pass *p, const beam_attention_weights *w,
                            const beam_attention_saved *s, beam_tensor x)
{
    if (w->q_down) {
        compress(p->be, &s->q_latent, beam_linear_of(w->q_down, NULL), w->q_down_norm, x);
        x = s->q_latent.out;
    }
    beam_linear_forward(p->be, beam_linear_of(w->q, NULL), x, beam_flat_heads(s->q.out), 0);
    beam_rope(p->be, s->q.out, p->cosine, p->sine, p->position, false);
}

void beam_latent_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                         beam_tensor x)
{
    beam_backend *be = p->be;
    const beam_model_config *c = p->config;
    const kv_maps maps = split(c, w);
    const int64_t tokens = x.dim[0];
    const size_t mark = beam_mark(p->scratch);
    beam_tensor rotated = beam_push(p->scratch, be->real, BEAM_DIMS(tokens, c->rotary_dim));
    beam_tensor own = beam_push(p->scratch, be->real, BEAM_DIMS(tokens, c->heads, maps.own));

    queries_forward(p, w, s, x);
    compress(be, &s->latent, maps.latent, w->kv_down_norm, x);
    beam_linear_forward(be, maps.rotated, x, rotated, 0);
    beam_rope(be, as_one_head(rotated), p->cosine, p->sine, p->position, false);
    beam_linear_forward(be, maps.keys, s->latent.out, beam_flat_heads(own), 0);
    beam_linear_forward(be, maps.values, s->latent.out, beam_flat_heads(s->v), 0);
    beam_latent_keys(be, s->k.out, own, rotated);
    beam_release(p->scratch, mark);
}

/* dx (overwritten) from dq, which is changed. */
static void queries_backward(const beam_pass *p, const beam_attention_weights *w,
                             const beam_attention_saved *s, beam_tensor x, beam_tensor dq, beam_tensor dx)
{
    beam_backend *be = p->be;
    const beam_linear q = beam_linear_of(w->q, NULL);
    beam_rope(be, dq, p->cosine, p->sine, p->position, true);
    if (!w->q_down) {
        beam_linear_backward(be, q, x, beam_flat_heads(dq), dx, 0);
        return;
    }
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dlatent = beam_push(p->scratch, be->real, s->q_latent.out.ndim, s->q_latent.out.dim);
    beam_linear_backward(be, q, s->q_latent.out, beam_flat_heads(dq), dlatent, 0);
    compress_backward(p, &s->q_latent, beam_linear_of(w->q_down, NULL), w->q_down_norm, x, dlatent, dx, 0);
    beam_release(p->scratch, mark);
}

void beam_latent_backward(const beam_pass *p, const beam_attention_weights *w, const beam_attention_saved *s,
                          beam_tensor x, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dx)
{
    beam_backend *be = p->be;
    const beam_model_config *c = p->config;
    const kv_maps maps = split(c, w);
    const int64_t tokens = x.dim[0];
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dkeys = beam_push(p->scratch, be->real, BEAM_DIMS(tokens, c->heads, maps.own));
    beam_tensor drotated = beam_push(p->scratch, be->real, BEAM_DIMS(tokens, c->rotary_dim));
    beam_tensor dlatent = beam_push(p->scratch, be->real, s->latent.out.ndim, s->latent.out.dim);

    queries_backward(p, w, s, x, dq, dx);
    beam_latent_keys_grad(be, dkeys, drotated, dk);
    beam_rope(be, as_one_head(drotated), p->cosine, p->sine, p->position, true);
    beam_linear_backward(be, maps.rotated, x, drotated, dx, 1);
    beam_linear_backward(be, maps.keys, s->latent.out, beam_flat_heads(dkeys), dlatent, 0);
    beam_linear_backward(be, maps.values, s->latent.out, beam_flat_heads(dv), dlatent, 1);
    compress_backward(p, &s->latent, maps.latent, w->kv_down_norm, x, dlatent, dx, 1);
    beam_release(p->scratch, mark);
}
