#include "model/attention.h"

#include <math.h>

static beam_tensor flat(beam_tensor t) /* [T,heads,Dh] as [T, heads*Dh] */
{
    return beam_reshape(t, BEAM_DIMS(t.dim[0], t.dim[1] * t.dim[2]));
}

void beam_attention_layout(beam_attention_saved *s, const beam_model_config *c, beam_dtype real,
                           int64_t tokens, beam_arena *a)
{
    const int64_t t = tokens, h = c->heads, g = c->kv_heads, dh = c->head_dim;
    s->q_raw = beam_push(a, real, BEAM_DIMS(t, h, dh));
    s->k_raw = beam_push(a, real, BEAM_DIMS(t, g, dh));
    s->q_inverse = beam_push(a, real, BEAM_DIMS(t * h));
    s->k_inverse = beam_push(a, real, BEAM_DIMS(t * g));
    s->q = beam_push(a, real, BEAM_DIMS(t, h, dh));
    s->k = beam_push(a, real, BEAM_DIMS(t, g, dh));
    s->v = beam_push(a, real, BEAM_DIMS(t, g, dh));
    s->out = beam_push(a, real, BEAM_DIMS(t, h, dh));
    s->lse = beam_push(a, real, BEAM_DIMS(t, h));
}

static double score_scale(const beam_model_config *c)
{
    return 1.0 / sqrt((double)c->head_dim);
}

void beam_attention_forward(const beam_pass *p, const beam_attention_weights *w, beam_attention_saved *s,
                            beam_tensor x, beam_tensor y)
{
    beam_backend *be = p->be;
    const double epsilon = p->config->rms_norm_eps;
    beam_gemm(be, flat(s->q_raw), x, false, w->q->value, true, 1, 0);
    beam_gemm(be, flat(s->k_raw), x, false, w->k->value, true, 1, 0);
    beam_gemm(be, flat(s->v), x, false, w->v->value, true, 1, 0);
    beam_rmsnorm(be, s->q, s->q_inverse, s->q_raw, w->q_norm->value, epsilon);
    beam_rmsnorm(be, s->k, s->k_inverse, s->k_raw, w->k_norm->value, epsilon);
    beam_rope(be, s->q, p->cosine, p->sine, p->position, false);
    beam_rope(be, s->k, p->cosine, p->sine, p->position, false);
    beam_attention(be, s->out, s->lse, s->q, s->k, s->v, p->sequences, score_scale(p->config));
    beam_gemm(be, y, flat(s->out), false, w->o->value, true, 1, 1);
}

/* Backward of y = x W^T: dW += dy^T x where W trains, dx = beta dx + dy W. */
static void linear_backward(beam_backend *be, const beam_param *w, beam_tensor x, beam_tensor dy,
                            beam_tensor dx, double beta)
{
    if (beam_trains(w))
        beam_gemm(be, w->grad, dy, true, x, false, 1, 1);
    beam_gemm(be, dx, dy, false, w->value, false, 1, beta);
}

void beam_attention_backward(const beam_pass *p, const beam_attention_weights *w,
                             const beam_attention_saved *s, beam_tensor x, beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dout = beam_push(p->scratch, be->real, s->out.ndim, s->out.dim);
    beam_tensor dq = beam_push(p->scratch, be->real, s->q.ndim, s->q.dim);
    beam_tensor dk = beam_push(p->scratch, be->real, s->k.ndim, s->k.dim);
    beam_tensor dv = beam_push(p->scratch, be->real, s->v.ndim, s->v.dim);

    linear_backward(be, w->o, flat(s->out), dy, flat(dout), 0);
    beam_attention_grad(be, dq, dk, dv, dout, s->out, s->lse, s->q, s->k, s->v, p->sequences,
                        score_scale(p->config));
    beam_rope(be, dq, p->cosine, p->sine, p->position, true);
    beam_rope(be, dk, p->cosine, p->sine, p->position, true);
    beam_tensor dq_raw = dout; /* dout is spent */
    beam_rmsnorm_grad(be, dq_raw, w->q_norm->grad, dq, s->q_raw, w->q_norm->value, s->q_inverse, 0);
    beam_tensor dk_raw = beam_push(p->scratch, be->real, s->k.ndim, s->k.dim);
    beam_rmsnorm_grad(be, dk_raw, w->k_norm->grad, dk, s->k_raw, w->k_norm->value, s->k_inverse, 0);
    linear_backward(be, w->q, x, flat(dq_raw), dx, 0);
    linear_backward(be, w->k, x, flat(dk_raw), dx, 1);
    linear_backward(be, w->v, x, flat(dv), dx, 1);
    beam_release(p->scratch, mark);
}
