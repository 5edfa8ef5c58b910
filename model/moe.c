#include "model/moe.h"

#include "model/expert_parallel.h"
#include "model/experts.h"
#include "model/linear.h"

void beam_moe_layout(beam_moe_saved *s, const beam_model_config *c, beam_dtype real, int64_t tokens,
                     beam_arena *a)
{
    const beam_dtype wide = beam_wide_of(real);
    const int64_t t = tokens, k = c->top_k, e = c->experts, f = c->moe_intermediate_size, r = t * k;
    s->route = (beam_route){
        .expert = beam_push(a, BEAM_I32, BEAM_DIMS(t, k)),
        .weight = beam_push(a, wide, BEAM_DIMS(t, k)),
        .logit = beam_push(a, wide, BEAM_DIMS(t, k)),
        .gate = beam_push(a, wide, BEAM_DIMS(t, k)),
        .keep = beam_push(a, BEAM_U8, BEAM_DIMS(t, k)),
        .row = beam_push(a, BEAM_I32, BEAM_DIMS(t, k)),
        .pair = beam_push(a, BEAM_I32, BEAM_DIMS(r)),
        .first = beam_push(a, BEAM_I32, BEAM_DIMS(e + 1)),
        .kept = beam_push(a, BEAM_I32, BEAM_DIMS(e)),
    };
    s->prob = beam_push(a, wide, BEAM_DIMS(t, beam_router_rows(c)));
    if (c->expert_ranks <= 1)
        s->rows_gate_up = beam_push(a, real, BEAM_DIMS(r, 2 * f));
    if (c->shared_size > 0)
        beam_mlp_layout(&s->shared, c->shared_size, real, t, a);
    if (c->shared_gate) {
        s->shared_out = beam_push(a, real, BEAM_DIMS(t, c->hidden_size));
        s->shared_score = beam_push(a, wide, BEAM_DIMS(t, 1));
    }
}

static beam_tensor value_of(const beam_param *p)
{
    return p ? p->value : (beam_tensor){0};
}

static beam_tensor grad_of(const beam_param *p)
{
    return p ? p->grad : (beam_tensor){0};
}

static beam_router_rule router_rule(const beam_model_config *c)
{
    return (beam_router_rule){.normalize = c->norm_topk_prob,
                              .scale = c->routed_scale,
                              .groups = (int)c->expert_groups,
                              .kept_groups = (int)c->kept_groups};
}

static beam_tensor router_of(const beam_pass *p, const beam_mlp_weights *w, int moe)
{
    const beam_tensor own = w->router->value;
    return p->routers.data ? beam_reshape(beam_rows(p->routers, moe, 1), own.ndim, own.dim) : own;
}

/* Candidates, weights, and which of them are kept. */
static void choose_experts(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                           int moe)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor product = beam_push(p->scratch, be->wide, s->prob.ndim, s->prob.dim); /* [T,E+N] */
    beam_gemm(be, product, x, false, router_of(p, w, moe), true, 1, 0);
    beam_router_topk(be, &s->route, s->prob, product, router_rule(p->config));
    if (p->rule.masks) {
        const beam_gate_terms terms = {.bias = value_of(w->mask.bias),
                                       .scale = value_of(w->mask.scale),
                                       .rank_bias = value_of(w->mask.rank_bias),
                                       .cutoff = p->rule.cutoff * p->rule.temperature,
                                       .temperature = p->rule.temperature};
        beam_gemm(be, product, x, false, w->mask.weight->value, true, 1, 0);
        beam_mask_gate(be, &s->route, product, &terms);
    } else {
        beam_gate_open(be, &s->route, p->rule.prune);
    }
    beam_route_plan(be, &s->route);
    beam_release(p->scratch, mark);
}

static beam_mlp shared_mlp(const beam_mlp_weights *w)
{
    return (beam_mlp){.gate_up = w->shared_gate_up, .down = w->shared_down};
}

static beam_tensor per_token(beam_tensor t) /* [T,1] as [T] */
{
    return beam_reshape(t, BEAM_DIMS(t.dim[0]));
}

/* y += shared(x), or sigmoid(w.x) shared(x). */
static void shared_forward(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                           beam_tensor y)
{
    if (!w->shared_gate) {
        beam_mlp_forward(p, shared_mlp(w), &s->shared, x, y, 1);
        return;
    }
    beam_mlp_forward(p, shared_mlp(w), &s->shared, x, s->shared_out, 0);
    beam_linear_forward(p->be, beam_linear_of(w->shared_gate, NULL), x, s->shared_score, 0);
    if (y.data)
        beam_add_gated(p->be, y, s->shared_out, per_token(s->shared_score));
}

static bool gives_back(const beam_pass *p, const beam_mlp_weights *w)
{
    return p->rule.masks && w->mask.given;
}

/* Those whose outputs reach y. */
static beam_rows_of running_rows(const beam_pass *p)
{
    return p->rule.form == BEAM_MASK_SOFT ? BEAM_ROWS_ALL : BEAM_ROWS_KEPT;
}

static beam_tensor push_rows(const beam_pass *p, const beam_moe_saved *s, int64_t width)
{
    return beam_push(p->scratch, p->be->real, BEAM_DIMS(beam_count(s->route.expert), width));
}

/* A row of the statistics. */
static void count_masks(const beam_pass *p, const beam_moe_saved *s, int moe)
{
    const beam_tensor row = beam_rows(p->stats, moe, 1);
    beam_mask_stats(p->be, beam_reshape(row, BEAM_DIMS(row.dim[1])), &s->route, p->counted);
}

/* rows_out[R,D] of the pairs that run, in r->x. */
static void run_experts(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                        const beam_expert_rows *r, int moe)
{
    if (p->parallel)
        beam_expert_parallel_forward(p, w, r, r->x);
    else
        beam_experts_forward(p, w, r, r->x);
    if (p->observer)
        p->observer(
            p->observer_context,
            &(beam_moe_seen){.layer = moe, .route = &s->route, .counted = p->counted, .rows_out = r->x});
}

/* y += the sum over the token's kept experts. */
static void mix(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s, beam_tensor rows_out,
                beam_tensor y)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const beam_tensor mixed = beam_push(p->scratch, be->real, y.ndim, y.dim);
    beam_route_combine(be, mixed, rows_out, &s->route, p->rule.form);
    if (gives_back(p, w))
        beam_give_back(be, mixed, w->mask.given->value, &s->route, p->rule.form);
    beam_add(be, y, mixed);
    beam_release(p->scratch, mark);
}

void beam_moe_forward(const beam_pass *p, const beam_mlp_weights *w, beam_moe_saved *s, beam_tensor x,
                      beam_tensor y, int moe)
{
    beam_backend *be = p->be;
    choose_experts(p, w, s, x, moe);
    if (p->stats.data)
        count_masks(p, s, moe);
    if (p->load.data)
        beam_router_load(be, p->load, &s->route, s->prob, p->counted);
    const size_t mark = beam_mark(p->scratch);
    beam_expert_rows r = {.route = &s->route,
                          .rows = running_rows(p),
                          .x = push_rows(p, s, x.dim[1]),
                          .gate_up = s->rows_gate_up};
    if (!p->parallel)
        r.tokens = x;
    else if (y.data) /* owners of experts keep nothing for backward */
        beam_route_gather(be, r.x, x, &s->route, r.rows);
    if (y.data) {
        run_experts(p, w, s, &r, moe);
        mix(p, w, s, r.x, y);
    } else if (!p->parallel) {
        beam_experts_hidden(be, w, &r);
    }
    beam_release(p->scratch, mark);
    if (w->shared_gate_up)
        shared_forward(p, w, s, x, y);
}

/* What the rows of a layer are made of on the way back, and what becomes of them. */
typedef struct {
    beam_tensor x, dy; /* [T,D] */
    beam_tensor dpair; /* [T,K] of the rows' pairs */
} token_grads;

/* The tokens, if only products of the experts read their rows; else gathers the rows and returns an absent
 * tensor. */
static beam_tensor tokens_unless(bool gathers, beam_backend *be, const beam_expert_rows *r, beam_tensor rows,
                                 beam_tensor tokens)
{
    if (!gathers)
        return tokens;
    beam_route_gather(be, rows, tokens, r->route, r->rows);
    return (beam_tensor){0};
}

static void rows_backward(const beam_pass *p, const beam_mlp_weights *w, beam_expert_rows *r,
                          beam_expert_grads *g, const token_grads *t)
{
    beam_backend *be = p->be;
    const bool ran = r->rows != BEAM_ROWS_DROPPED;
    r->tokens = tokens_unless(p->parallel || (ran && beam_trains(w->gate_up)), be, r, r->x, t->x);
    g->tokens = tokens_unless(p->parallel || (ran && beam_trains(w->down)), be, r, g->d, t->dy);
    if (p->parallel) {
        beam_expert_parallel_backward(p, w, r, g);
    } else {
        if (!ran)
            beam_experts_hidden(be, w, r);
        beam_experts_backward(p, w, r, g);
    }
    beam_route_pairs(be, t->dpair, g->dot, r->route, r->rows);
}

/* dpair[T,K] = <dy, E(x)>, 0 where nobody asks for it; gradients of the experts' weights; dx[T,D]
 * (overwritten) unless it is absent. */
static void experts_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                             const token_grads *t, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const int64_t width = t->x.dim[1];
    beam_expert_rows r = {.route = &s->route, .x = push_rows(p, s, width), .gate_up = s->rows_gate_up};
    beam_expert_grads g = {.d = push_rows(p, s, width),
                           .dot = beam_push(p->scratch, be->wide, BEAM_DIMS(r.x.dim[0]))};
    beam_zero(be, t->dpair);
    /* The gates ask what dropped pairs would have been worth. */
    if (p->rule.masks && p->rule.form == BEAM_MASK_HARD) {
        r.rows = BEAM_ROWS_DROPPED;
        rows_backward(p, w, &r, &g, t);
    }
    r.rows = running_rows(p);
    if (dx.data || beam_trains(w->gate_up) || beam_trains(w->down)) {
        g.weight = beam_push(p->scratch, be->wide, BEAM_DIMS(r.x.dim[0]));
        g.want_dx = dx.data != NULL;
        beam_route_weights(be, g.weight, &s->route, p->rule.form);
    }
    rows_backward(p, w, &r, &g, t);
    if (dx.data) {
        beam_zero(be, dx);
        beam_route_gather_grad(be, dx, g.d, &s->route, r.rows);
    }
    beam_release(p->scratch, mark);
}

/* dproduct[T,E] = dL/d(x W_m^T) and dweight[T,K] = dL/dg (both overwritten); the gate's vectors +=. */
static void mask_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                          beam_tensor dy, beam_tensor dpair, beam_tensor dproduct, beam_tensor dweight)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const beam_gate_terms grad = {.bias = grad_of(w->mask.bias),
                                  .scale = grad_of(w->mask.scale),
                                  .rank_bias = grad_of(w->mask.rank_bias)};
    beam_gate_grad_args args = {.dpair = dpair,
                                .counted = p->counted,
                                .penalty = p->terms.penalty,
                                .squared = p->terms.squared,
                                .temperature = p->rule.temperature,
                                .form = p->rule.form};
    if (gives_back(p, w)) {
        args.dgiven = beam_push(p->scratch, be->wide, dpair.ndim, dpair.dim);
        beam_give_back_grad(be, w->mask.given->grad, args.dgiven, dy, w->mask.given->value, &s->route,
                            p->rule.form);
    }
    if (p->union_sum.data) {
        args.dgate = beam_push(p->scratch, be->wide, dpair.ndim, dpair.dim);
        beam_union_penalty(be, args.dgate, p->union_sum, &s->route, p->counted, p->terms.union_group,
                           p->terms.union_weight);
    }
    beam_mask_gate_grad(be, dproduct, dweight, &grad, &s->route, &args);
    beam_release(p->scratch, mark);
}

/* The router and the mask gate: weight gradients, and dx += unless it is absent. */
static void gates_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                           beam_tensor x, beam_tensor dy, beam_tensor dpair, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    beam_tensor dproduct = beam_push(p->scratch, be->wide, s->prob.ndim, s->prob.dim);
    beam_tensor dweight = beam_push(p->scratch, be->wide, dpair.ndim, dpair.dim);
    mask_backward(p, w, s, dy, dpair, dproduct, dweight);
    if (p->rule.masks)
        beam_linear_backward(be, beam_linear_of(w->mask.weight, NULL), x, dproduct, dx, 1);
    if (dx.data || beam_trains(w->router)) {
        beam_router_grad(be, dproduct, dweight, &s->route, s->prob, p->dprob, p->counted,
                         router_rule(p->config));
        beam_linear_backward(be, beam_linear_of(w->router, NULL), x, dproduct, dx, 1);
    }
    beam_release(p->scratch, mark);
}

/* Weight gradients of the shared expert, and dx += unless it is absent. */
static void shared_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s,
                            beam_tensor x, beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    if (w->shared_gate) {
        beam_tensor dshared = beam_push(p->scratch, be->real, dy.ndim, dy.dim);
        beam_tensor dscore = beam_push(p->scratch, be->wide, s->shared_score.ndim, s->shared_score.dim);
        beam_add_gated_grad(be, dshared, per_token(dscore), dy, s->shared_out, per_token(s->shared_score));
        beam_linear_backward(be, beam_linear_of(w->shared_gate, NULL), x, dscore, dx, 1);
        dy = dshared;
    }
    beam_mlp_backward(p, shared_mlp(w), &s->shared, x, dy, dx, 1);
    beam_release(p->scratch, mark);
}

void beam_moe_backward(const beam_pass *p, const beam_mlp_weights *w, const beam_moe_saved *s, beam_tensor x,
                       beam_tensor dy, beam_tensor dx)
{
    beam_backend *be = p->be;
    const size_t mark = beam_mark(p->scratch);
    const beam_tensor dpair = beam_push(p->scratch, be->wide, s->route.weight.ndim, s->route.weight.dim);
    experts_backward(p, w, s, &(token_grads){.x = x, .dy = dy, .dpair = dpair}, dx);
    gates_backward(p, w, s, x, dy, dpair, dx);
    if (w->shared_gate_up && (dx.data || beam_trains(w->shared_gate_up)))
        shared_backward(p, w, s, x, dy, dx);
    beam_release(p->scratch, mark);
}
