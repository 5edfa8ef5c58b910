#include "optim/adamw.h"

#include <stdlib.h>

static void place(beam_adamw_state *s, beam_arena *a)
{
    for (int i = 0; i < s->params.n; i++) {
        const beam_param *p = &s->params.at[i];
        if (!(p->flags & BEAM_TRAIN))
            continue;
        s->m[i] = beam_push(a, p->value.dtype, p->value.ndim, p->value.dim);
        s->v[i] = beam_push(a, p->value.dtype, p->value.ndim, p->value.dim);
    }
}

beam_status beam_adamw_open(beam_adamw_state *s, beam_params params, beam_backend *be)
{
    *s = (beam_adamw_state){.params = params};
    s->m = calloc((size_t)params.n, sizeof *s->m);
    s->v = calloc((size_t)params.n, sizeof *s->v);
    if (!s->m || !s->v) {
        beam_adamw_close(s, be);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the optimizer's lists");
    }
    beam_arena a = beam_arena_measure();
    place(s, &a);
    s->bytes = a.peak;
    s->block = beam_alloc(be, a.peak, "optimizer state");
    if (be->status) {
        beam_adamw_close(s, be);
        return be->status;
    }
    a = beam_arena_over(s->block, a.peak);
    place(s, &a);
    beam_zero(be, beam_view(s->block, BEAM_U8, BEAM_DIMS((int64_t)s->bytes)));
    return BEAM_OK;
}

void beam_adamw_close(beam_adamw_state *s, beam_backend *be)
{
    beam_free(be, s->block);
    free(s->m);
    free(s->v);
    *s = (beam_adamw_state){0};
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
        beam_adamw(be, p->value, p->grad, s->m[i], s->v[i], &own);
    }
}
