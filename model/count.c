#include "model/count.h"

#include "model/weights.h"

/* Numbers of the stacked experts that one token does not use. */
static int64_t idle(const beam_mlp_weights *mlp, const beam_model_config *c)
{
    if (!mlp->router)
        return 0;
    const int64_t experts = beam_count(mlp->gate_up->value) + beam_count(mlp->down->value);
    return experts / c->experts * (c->experts - c->top_k);
}

beam_status beam_model_count(beam_parameter_count *out, const beam_model_config *c)
{
    beam_model_weights w;
    *out = (beam_parameter_count){0};
    BEAM_TRY(beam_model_weights_list(&w, c, BEAM_SCOPE_NONE, BEAM_F32));
    for (int i = 0; i < w.params.n; i++) {
        const beam_param *p = &w.params.at[i];
        *(p->flags & BEAM_MASK_GATE ? &out->gates : &out->total) += beam_count(p->value);
    }
    out->active = out->total;
    for (int64_t i = 0; i < c->layers; i++)
        out->active -= idle(&w.layer[i].mlp, c);
    beam_model_weights_unlist(&w);
    return BEAM_OK;
}
