#include "model/head.h"

enum { CHUNK_ELEMENTS = 1 << 24 }; /* logits held at a time: 64 MiB in float */

void beam_head_layout_losses(beam_head_saved *s, beam_dtype real, int64_t tokens, bool teacher, beam_arena *a)
{
    s->loss = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
    s->correct = beam_push(a, BEAM_U8, BEAM_DIMS(tokens));
    if (teacher)
        s->divergence = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
}

void beam_head_layout(beam_head_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                      bool train, bool teacher, beam_arena *a)
{
    s->in = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    s->inverse = beam_push(a, beam_wide_of(real), BEAM_DIMS(tokens));
    if (train)
        s->din = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
    if (teacher)
        s->teacher = beam_push(a, real, BEAM_DIMS(tokens, c->hidden_size));
}

int64_t beam_head_chunk(const beam_model_config *c)
{
    const int64_t room = CHUNK_ELEMENTS / c->vocab_size;
    return room < 64 ? 64 : room;
}

void beam_head_logits(beam_backend *be, const beam_model_weights *w, beam_tensor in, beam_tensor logits)
{
    beam_gemm(be, logits, in, false, w->head->value, true, 1, 0);
}

void beam_head_teach(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s, beam_tensor x)
{
    const int64_t tokens = x.dim[0];
    beam_rmsnorm(p->be, beam_rows(s->teacher, 0, tokens), beam_rows(s->inverse, 0, tokens), x, w->norm->value,
                 p->config->rms_norm_eps);
}

static void chunk_forward(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s,
                          beam_tensor target, const beam_distill_args *args, int64_t first, int64_t n)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor logits = beam_push(p->scratch, be->real, BEAM_DIMS(n, p->config->vocab_size));
    const beam_tensor in = beam_rows(s->in, first, n), loss = beam_rows(s->loss, first, n),
                      correct = beam_rows(s->correct, first, n);
    beam_head_logits(be, w, in, logits);
    if (args->want_grad && args->weight > 0) {
        beam_tensor teacher = beam_push(p->scratch, be->real, logits.ndim, logits.dim);
        beam_head_logits(be, w, beam_rows(s->teacher, first, n), teacher);
        beam_distill(be, logits, teacher, beam_rows(target, first, n), loss,
                     beam_rows(s->divergence, first, n), correct, args);
    } else {
        beam_cross_entropy(be, logits, beam_rows(target, first, n), loss, correct, args->grad_scale,
                           args->want_grad);
    }
    if (args->want_grad)
        beam_gemm(be, beam_rows(s->din, first, n), logits, false, w->head->value, false, 1, 0);
    if (args->want_grad && beam_trains(w->head))
        beam_gemm(be, w->head->grad, logits, true, in, false, 1, 1);
    beam_release(p->scratch, mark);
}

void beam_head_forward(const beam_pass *p, const beam_model_weights *w, beam_head_saved *s, beam_tensor x,
                       beam_tensor target, const beam_distill_args *args)
{
    const int64_t tokens = x.dim[0], chunk = beam_head_chunk(p->config);
    beam_rmsnorm(p->be, beam_rows(s->in, 0, tokens), beam_rows(s->inverse, 0, tokens), x, w->norm->value,
                 p->config->rms_norm_eps);
    for (int64_t first = 0; first < tokens; first += chunk)
        chunk_forward(p, w, s, target, args, first, tokens - first < chunk ? tokens - first : chunk);
}

void beam_head_backward(const beam_pass *p, const beam_model_weights *w, const beam_head_saved *s,
                        beam_tensor x, beam_tensor dx)
{
    const int64_t tokens = x.dim[0];
    beam_rmsnorm_grad(p->be, dx, w->norm->grad, beam_rows(s->din, 0, tokens), x, w->norm->value,
                      beam_rows(s->inverse, 0, tokens), 0);
}
