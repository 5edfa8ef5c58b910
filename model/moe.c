#include "model/moe.h"

void beam_moe_layout(beam_moe_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                     beam_arena *a)
{
    const int64_t t = tokens, k = c->top_k, e = c->experts, f = c->moe_intermediate_size, r = t * k;
    s->route = (beam_route){
        .expert = beam_push(a, BEAM_I32, BEAM_DIMS(t, k)),
        .weight = beam_push(a, real, BEAM_DIMS(t, k)),
        .logit = beam_push(a, real, BEAM_DIMS(t, k)),
        .gate = beam_push(a, real, BEAM_DIMS(t, k)),
        .keep = beam_push(a, BEAM_U8, BEAM_DIMS(t, k)),
        .row = beam_push(a, BEAM_I32, BEAM_DIMS(t, k)),
        .pair = beam_push(a, BEAM_I32, BEAM_DIMS(r)),
        .first = beam_push(a, BEAM_I32, BEAM_DIMS(e + 1)),
        .kept = beam_push(a, BEAM_I32, BEAM_DIMS(e)),
    };
    s->prob = beam_push(a, real, BEAM_DIMS(t, e));
    s->rows_x = beam_push(a, real, BEAM_DIMS(r, c->hidden_size));
    s->rows_gate_up = beam_push(a, real, BEAM_DIMS(r, 2 * f));
    s->rows_act = beam_push(a, real, BEAM_DIMS(r, f));
    s->rows_out = beam_push(a, real, BEAM_DIMS(r, c->hidden_size));
}

static beam_tensor value_of(const beam_param *p)
{
    return p ? p->value : (beam_tensor){0};
}

static beam_tensor grad_of(const beam_param *p)
{
    return p ? p->grad : (beam_tensor){0};
}

/* Candidates, weights, and which of them are kept. */
static void choose_experts(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor product = beam_push(p->scratch, be->real, s->prob.ndim, s->prob.dim); /* [T,E] */
    beam_gemm(be, product, x, false, w->router->value, true, 1, 0);
    beam_router_topk(be, &s->route, s->prob, product, p->config->norm_topk_prob);
    if (p->rule.masks) {
        const beam_gate_terms terms = {.bias = value_of(w->mask.bias),
                                       .scale = value_of(w->mask.scale),
                                       .rank_bias = value_of(w->mask.rank_bias),
                                       .cutoff = p->rule.cutoff};
        beam_gemm(be, product, x, false, w->mask.weight->value, true, 1, 0);
        beam_mask_gate(be, &s->route, product, &terms);
    } else {
        beam_gate_open(be, &s->route, p->rule.keep, p->rule.renormalize);
    }
    beam_route_plan(be, &s->route);
    beam_release(p->scratch, mark);
}

void beam_moe_forward(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                      beam_tensor y, beam_tensor stats, bool complete)
{
    beam_backend *be = p->be;
    choose_experts(p, w, s, x);
    if (stats.data)
        beam_mask_stats(be, stats, &s->route, p->counted);
    if (p->load.data)
        beam_router_load(be, p->load, &s->route, s->prob, p->counted);

    const bool all = complete || p->rule.form == BEAM_MASK_SOFT;
    const beam_rows_of rows = all ? BEAM_ROWS_ALL : BEAM_ROWS_KEPT;
    beam_route_gather(be, s->rows_x, x, &s->route, rows);
    beam_grouped_gemm(be, s->rows_gate_up, s->rows_x, w->gate_up->value, true, &s->route, rows);
    beam_swiglu(be, s->rows_act, s->rows_gate_up, &s->route, rows);
    beam_grouped_gemm(be, s->rows_out, s->rows_act, w->down->value, true, &s->route, rows);

    const size_t mark = beam_mark(p->scratch);
    beam_tensor mixed = beam_push(p->scratch, be->real, y.ndim, y.dim);
    beam_route_combine(be, mixed, s->rows_out, &s->route, p->rule.form);
    beam_add(be, y, mixed);
    beam_release(p->scratch, mark);
}

/* Over `rows`: drows = dL/d(expert output) on entry; with want_dx, dL/d(expert input) on return. */
static void experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                             beam_rows_of rows, beam_tensor drows, bool want_dx)
{
    beam_backend *be = p->be;
    if (beam_trains(w->down))
        beam_grouped_wgrad(be, w->down->grad, drows, s->rows_act, &s->route, rows);
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dact = beam_push(p->scratch, be->real, s->rows_act.ndim, s->rows_act.dim);
    beam_tensor dgate_up = beam_push(p->scratch, be->real, s->rows_gate_up.ndim, s->rows_gate_up.dim);
    beam_grouped_gemm(be, dact, drows, w->down->value, false, &s->route, rows);
    beam_swiglu_grad(be, dgate_up, dact, s->rows_gate_up, &s->route, rows);
    if (beam_trains(w->gate_up))
        beam_grouped_wgrad(be, w->gate_up->grad, dgate_up, s->rows_x, &s->route, rows);
    if (want_dx)
        beam_grouped_gemm(be, drows, dgate_up, w->gate_up->value, false, &s->route, rows);
    beam_release(p->scratch, mark);
}

/* The router and the mask gate: weight gradients, and dx += unless it is absent. */
static void gates_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                           beam_tensor x, beam_tensor dpair, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dproduct = beam_push(p->scratch, be->real, s->prob.ndim, s->prob.dim);
    beam_tensor dweight = beam_push(p->scratch, be->real, dpair.ndim, dpair.dim);
    const beam_gate_terms grad = {.bias = grad_of(w->mask.bias),
                                  .scale = grad_of(w->mask.scale),
                                  .rank_bias = grad_of(w->mask.rank_bias)};
    beam_mask_gate_grad(be, dproduct, dweight, &grad, dpair, &s->route, p->counted, p->penalty, p->rule.form);
    if (p->rule.masks) {
        if (beam_trains(w->mask.weight))
            beam_gemm(be, w->mask.weight->grad, dproduct, true, x, false, 1, 1);
        if (dx.data)
            beam_gemm(be, dx, dproduct, false, w->mask.weight->value, false, 1, 1);
    }
    if (dx.data || beam_trains(w->router)) {
        beam_router_grad(be, dproduct, dweight, &s->route, s->prob, p->dprob, p->counted,
                         p->config->norm_topk_prob);
        if (beam_trains(w->router))
            beam_gemm(be, w->router->grad, dproduct, true, x, false, 1, 1);
        if (dx.data)
            beam_gemm(be, dx, dproduct, false, w->router->value, false, 1, 1);
    }
    beam_release(p->scratch, mark);
}

void beam_moe_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s, beam_tensor x,
                       beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const beam_rows_of rows = p->rule.form == BEAM_MASK_SOFT ? BEAM_ROWS_ALL : BEAM_ROWS_KEPT;
    const bool through_experts = dx.data || beam_trains(w->gate_up) || beam_trains(w->down);
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dpair = beam_push(p->scratch, be->real, s->route.weight.ndim, s->route.weight.dim);
    beam_tensor drows = beam_push(p->scratch, be->real, s->rows_out.ndim, s->rows_out.dim);
    if (!through_experts)
        drows.data = NULL;
    beam_route_combine_grad(be, drows, dpair, dy, s->rows_out, &s->route, p->rule.form);
    if (through_experts)
        experts_backward(p, w, s, rows, drows, dx.data != NULL);
    if (dx.data) {
        beam_zero(be, dx);
        beam_route_gather_grad(be, dx, drows, &s->route, rows);
    }
    gates_backward(p, w, s, x, dpair, dx);
    beam_release(p->scratch, mark);
}

void beam_mlp_layout(beam_mlp_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                     beam_arena *a)
{
    s->gate_up = beam_push(a, real, BEAM_DIMS(tokens, 2 * c->intermediate_size));
    s->act = beam_push(a, real, BEAM_DIMS(tokens, c->intermediate_size));
}

void beam_mlp_forward(const beam_pass *p, const beam_mlp_weights *w, beam_mlp_saved *s, beam_tensor x,
                      beam_tensor y)
{
    beam_gemm(p->be, s->gate_up, x, false, w->gate_up->value, true, 1, 0);
    beam_swiglu(p->be, s->act, s->gate_up, NULL, BEAM_ROWS_ALL);
    beam_gemm(p->be, y, s->act, false, w->down->value, true, 1, 1);
}

void beam_mlp_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_mlp_saved *s, beam_tensor x,
                       beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dact = beam_push(p->scratch, be->real, s->act.ndim, s->act.dim);
    beam_tensor dgate_up = beam_push(p->scratch, be->real, s->gate_up.ndim, s->gate_up.dim);
    if (beam_trains(w->down))
        beam_gemm(be, w->down->grad, dy, true, s->act, false, 1, 1);
    beam_gemm(be, dact, dy, false, w->down->value, false, 1, 0);
    beam_swiglu_grad(be, dgate_up, dact, s->gate_up, NULL, BEAM_ROWS_ALL);
    if (beam_trains(w->gate_up))
        beam_gemm(be, w->gate_up->grad, dgate_up, true, x, false, 1, 1);
    if (dx.data)
        beam_gemm(be, dx, dgate_up, false, w->gate_up->value, false, 1, 0);
    beam_release(p->scratch, mark);
}
