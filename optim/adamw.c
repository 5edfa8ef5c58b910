#include "optim/adamw.h"

#include <stdlib.h>

/* Without lists it only measures. */
static void place(beam_adamw_state *s, beam_arena *a)
{
    for (int i = 0; i < s->params.n; i++) {
        const beam_param *p = &s->params.at[i];
        if (!(p->flags & BEAM_TRAIN))
            continue;
        const beam_tensor m = beam_push(a, p->grad.dtype, p->value.ndim, p->value.dim);
        const beam_tensor v = beam_push(a, p->grad.dtype, p->value.ndim, p->value.dim);
        if (s->m && s->v) {
            s->m[i] = m;
            s->v[i] = v;
        }
    }
}

size_t beam_adamw_bytes(beam_params params)
{
    beam_adamw_state s = {.params = params};
    beam_arena a = beam_arena_measure();
    place(&s, &a);
    return a.peak;
}

beam_status beam_adamw_open(beam_adamw_state *s, beam_params params, beam_backend *be)
{
    *s = (beam_adamw_state){.params = params};
    for (int i = 0; i < params.n; i++)
        if ((params.at[i].flags & BEAM_TRAIN) && params.at[i].value.dtype != be->wide)
            return BEAM_FAIL(BEAM_ECONFIG,
                             "%s is kept in %s, which cannot be trained; train gates and routers only, or "
                             "compute in float32",
                             params.at[i].name, beam_dtype_name(params.at[i].value.dtype));
    s->m = calloc((size_t)params.n, sizeof *s->m);
    s->v = calloc((size_t)params.n, sizeof *s->v);
    if (!s->m || !s->v) {
        beam_adamw_close(s, be);
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the optimizer's lists");
    }
    s->bytes = beam_adamw_bytes(params);
    s->block = beam_alloc(be, s->bytes, "optimizer state");
    if (be->status) {
        beam_adamw_close(s, be);
        return be->status;
    }
    beam_arena a = beam_arena_over(s->block, s->bytes);
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
