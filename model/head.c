#include "model/head.h"

enum { CHUNK_ELEMENTS = 1 << 24 }; /* logits held at a time: 64 MiB in float */

void beam_head_layout(beam_head_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                      bool train, beam_arena *a)
{
    *s = (beam_head_saved){0};
    s->in = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    s->inverse = beam_push(a, real, BEAM_DIMS(tokens));
    s->loss = beam_push(a, real, BEAM_DIMS(tokens));
    s->correct = beam_push(a, BEAM_U8, BEAM_DIMS(tokens));
    if (train)
        s->din = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
}

int64_t beam_head_chunk(const beam_model_config *c)
{
    const int64_t room = CHUNK_ELEMENTS / c->vocab_size;
    return room < 64 ? 64 : room;
}

void beam_head_logits(beam_backend *be, const beam_model_weights *w, const beam_head_saved *s, int64_t first,
                      beam_tensor logits)
{
    beam_gemm(be, logits, beam_rows(s->in, first, logits.dim[0]), false, w->head->value, true, 1, 0);
}

static void chunk_forward(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s,
                          beam_tensor target, double grad_scale, int64_t first, int64_t n)
{
    beam_backend *be = p->be;
    const bool train = grad_scale != 0;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor logits = beam_push(p->scratch, be->real, BEAM_DIMS(n, p->config->vocab_size));
    const beam_tensor in = beam_rows(s->in, first, n);
    beam_head_logits(be, w, s, first, logits);
    beam_cross_entropy(be, logits, beam_rows(target, first, n), beam_rows(s->loss, first, n),
                       beam_rows(s->correct, first, n), grad_scale, train);
    if (train)
        beam_gemm(be, beam_rows(s->din, first, n), logits, false, w->head->value, false, 1, 0);
    if (train && beam_trains(w->head))
        beam_gemm(be, w->head->grad, logits, true, in, false, 1, 1);
    beam_release(p->scratch, mark);
}

void beam_head_forward(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s, beam_tensor x,
                       beam_tensor target, double grad_scale)
{
    const int64_t tokens = x.dim[0];
    const int64_t chunk = beam_head_chunk(p->config);
    beam_rmsnorm(p->be, beam_rows(s->in, 0, tokens), beam_rows(s->inverse, 0, tokens), x, w->norm->value,
                 p->config->rms_norm_eps);
    for (int64_t first = 0; first < tokens; first += chunk)
        chunk_forward(p, w, s, target, grad_scale, first, tokens - first < chunk ? tokens - first : chunk);
}

void beam_head_backward(const beam_pass *p, const beam_model_weights *w, const beam_head_saved *s,
                        beam_tensor x, beam_tensor dx)
{
    const int64_t tokens = x.dim[0];
    beam_rmsnorm_grad(p->be, dx, w->norm->grad, beam_rows(s->din, 0, tokens), x, w->norm->value,
                      beam_rows(s->inverse, 0, tokens), 0);
}
