#include "optim/adamw.h"

#include <stdlib.h>
#include <string.h>

static int64_t elements(const beam_span *spans, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += spans[i].n;
    return sum;
}

static void place(beam_adamw_state *s, const beam_span *spans, int n_spans, beam_dtype real, beam_arena *a)
{
    const int64_t n = elements(spans, n_spans);
    s->m = beam_push(a, real, BEAM_DIMS(n));
    s->v = beam_push(a, real, BEAM_DIMS(n));
}

size_t beam_adamw_bytes(const beam_span *spans, int n_spans, beam_dtype real)
{
    beam_adamw_state s;
    beam_arena a = beam_arena_measure();
    place(&s, spans, n_spans, real, &a);
    return a.peak;
}

beam_status beam_adamw_open(beam_adamw_state *s, beam_params params, beam_tensor grads,
                            const beam_span *spans, int n_spans, beam_backend *be)
{
    for (int i = 0; i < params.n; i++)
        BEAM_ASSERT(!(params.at[i].flags & BEAM_TRAIN) || params.at[i].value.dtype == be->wide);
    const size_t list = (size_t)n_spans * sizeof *spans;
    *s = (beam_adamw_state){
        .params = params, .grads = grads, .spans = malloc(list + 1), .n_spans = n_spans, .base_rate = 1};
    if (!s->spans)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the optimizer's list");
    if (n_spans > 0)
        memcpy(s->spans, spans, list);
    s->bytes = beam_adamw_bytes(spans, n_spans, grads.dtype);
    s->block = s->bytes > 0 ? beam_alloc(be, s->bytes, "optimizer state") : NULL;
    if (be->status) {
        beam_adamw_close(s, be);
        return be->status;
    }
    beam_arena a = beam_arena_over(s->block, s->bytes);
    place(s, spans, n_spans, grads.dtype, &a);
    beam_zero(be, beam_view(s->block, BEAM_U8, BEAM_DIMS((int64_t)s->bytes)));
    return BEAM_OK;
}

beam_status beam_adamw_open_whole(beam_adamw_state *s, beam_params params, beam_tensor grads,
                                  beam_backend *be)
{
    return beam_adamw_open(s, params, grads, &(beam_span){.n = beam_count(grads)}, 1, be);
}

void beam_adamw_close(beam_adamw_state *s, beam_backend *be)
{
    beam_free(be, s->block);
    free(s->spans);
    *s = (beam_adamw_state){0};
}

/* Where a parameter's gradient stands in the block. */
static beam_span place_of(const beam_adamw_state *s, const beam_param *p)
{
    const ptrdiff_t bytes = (const char *)p->grad.data - (const char *)s->grads.data;
    return (beam_span){.first = bytes / (ptrdiff_t)beam_dtype_size(s->grads.dtype), .n = beam_count(p->grad)};
}

static beam_span common(beam_span a, beam_span b)
{
    const int64_t end_a = a.first + a.n, end_b = b.first + b.n;
    const int64_t first = a.first > b.first ? a.first : b.first, end = end_a < end_b ? end_a : end_b;
    return (beam_span){.first = first, .n = end > first ? end - first : 0};
}

/* Elements are updated one by one, so that a parameter cut by spans gets the bits of a whole one. */
static void update(beam_adamw_state *s, beam_backend *be, const beam_param *p, const beam_adamw_args *args)
{
    const beam_span all = place_of(s, p);
    const beam_tensor value = beam_reshape(p->value, BEAM_DIMS(all.n));
    const beam_tensor grad = beam_reshape(p->grad, BEAM_DIMS(all.n));
    int64_t at = 0; /* where the span stands in the moments */
    for (int i = 0; i < s->n_spans; at += s->spans[i++].n) {
        const beam_span part = common(all, s->spans[i]);
        const int64_t moment = at + part.first - s->spans[i].first;
        if (part.n > 0)
            beam_adamw(be, beam_rows(value, part.first - all.first, part.n),
                       beam_rows(grad, part.first - all.first, part.n), beam_rows(s->m, moment, part.n),
                       beam_rows(s->v, moment, part.n), args);
    }
}

void beam_adamw_step(beam_adamw_state *s, beam_backend *be, const beam_adamw_args *args)
{
    for (int i = 0; i < s->params.n; i++) {
        const beam_param *p = &s->params.at[i];
        if (!(p->flags & BEAM_TRAIN))
            continue;
        beam_adamw_args own = *args;
        if (!(p->flags & BEAM_DECAY))
            own.weight_decay = 0;
        if (!(p->flags & BEAM_MASK_GATE))
            own.learning_rate *= s->base_rate;
        update(s, be, p, &own);
    }
}

static void exchange(const beam_adamw_state *s, beam_backend *be, beam_moment which, beam_tensor block,
                     bool give)
{
    const beam_tensor moment = which == BEAM_MOMENT_FIRST ? s->m : s->v;
    int64_t at = 0;
    for (int i = 0; i < s->n_spans; at += s->spans[i++].n) {
        const beam_tensor there = beam_rows(block, s->spans[i].first, s->spans[i].n);
        const beam_tensor here = beam_rows(moment, at, s->spans[i].n);
        beam_copy(be, give ? there : here, give ? here : there);
    }
}

void beam_adamw_give(const beam_adamw_state *s, beam_backend *be, beam_moment which, beam_tensor block)
{
    exchange(s, be, which, block, true);
}

void beam_adamw_take(beam_adamw_state *s, beam_backend *be, beam_moment which, beam_tensor block)
{
    exchange(s, be, which, block, false);
}
