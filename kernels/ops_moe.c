/* The checked front of the mixture-of-experts ops. */
#include "kernels/ops.h"
#include "kernels/shape.h"

/* The candidates of every token, [T,K], with E experts to choose from. */
static bool has_candidates(const beam_route *route, int64_t tokens, int64_t experts)
{
    const int64_t top_k = route->expert.dim[1];
    return beam_is(route->expert, BEAM_I32, BEAM_DIMS(tokens, top_k)) && top_k > 0 && top_k <= experts;
}

static bool is_per_pair(beam_tensor t, beam_dtype type, const beam_route *route)
{
    return beam_is(t, type, BEAM_DIMS(route->expert.dim[0], route->expert.dim[1]));
}

/* What tells a kept pair from a dropped one, and how much it counts. */
static bool has_mask(const beam_backend *be, const beam_route *route)
{
    return is_per_pair(route->weight, be->wide, route) && is_per_pair(route->gate, be->wide, route) &&
           is_per_pair(route->keep, BEAM_U8, route);
}

/* The plan of beam_route_plan is there. */
static bool has_plan(const beam_route *route, int64_t tokens)
{
    const int64_t experts = route->kept.dim[0];
    return has_candidates(route, tokens, experts) && is_per_pair(route->row, BEAM_I32, route) &&
           beam_is(route->pair, BEAM_I32, BEAM_DIMS(beam_count(route->expert))) &&
           beam_is_grouped(route, experts);
}

static bool has_terms(const beam_backend *be, const beam_gate_terms *terms, int64_t experts, int64_t top_k)
{
    return beam_is_absent_or(terms->bias, be->wide, BEAM_DIMS(experts)) &&
           beam_is_absent_or(terms->scale, be->wide, BEAM_DIMS(1)) &&
           beam_is_absent_or(terms->rank_bias, be->wide, BEAM_DIMS(top_k));
}

/* `columns` candidates to choose from: the experts, and null ones behind them, which no limit of groups
 * knows.
 */
static bool has_columns(const beam_route *route, int64_t columns, beam_router_rule rule)
{
    const int64_t experts = route->kept.dim[0];
    return beam_is(route->kept, BEAM_I32, BEAM_DIMS(experts)) && experts > 0 &&
           (experts == columns || (experts < columns && rule.groups == 1));
}

/* The groups are equal, and those kept hold enough experts for the candidates. */
static bool is_possible(beam_router_rule rule, int64_t experts, int64_t top_k)
{
    return rule.groups > 0 && experts % rule.groups == 0 && rule.kept_groups <= rule.groups &&
           top_k <= rule.kept_groups * (experts / rule.groups);
}

void beam_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                      beam_router_rule rule)
{
    if (!BEAM_CAN(be, router_topk))
        return;
    BEAM_ASSERT(has_candidates(route, logits.dim[0], logits.dim[1]));
    BEAM_ASSERT(logits.dtype == be->wide && logits.ndim == 2 && beam_is_like(prob, logits));
    BEAM_ASSERT(is_per_pair(route->weight, be->wide, route));
    BEAM_ASSERT(is_possible(rule, logits.dim[1], route->expert.dim[1]));
    BEAM_ASSERT(has_columns(route, logits.dim[1], rule));
    be->ops->router_topk(be, route, prob, logits, rule);
}

void beam_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight, const beam_route *route,
                      beam_tensor prob, beam_tensor dprob, beam_tensor counted, beam_router_rule rule)
{
    if (!BEAM_CAN(be, router_grad))
        return;
    const int64_t tokens = prob.dim[0], experts = prob.dim[1];
    BEAM_ASSERT(has_candidates(route, tokens, experts) && is_per_pair(dweight, be->wide, route));
    BEAM_ASSERT(beam_is(prob, be->wide, BEAM_DIMS(tokens, experts)) && beam_is_like(dlogits, prob));
    BEAM_ASSERT(beam_is_absent_or(dprob, be->wide, BEAM_DIMS(experts)));
    BEAM_ASSERT(!dprob.data || beam_is(counted, BEAM_U8, BEAM_DIMS(tokens)));
    BEAM_ASSERT(is_possible(rule, experts, route->expert.dim[1]) && has_columns(route, experts, rule));
    be->ops->router_grad(be, dlogits, dweight, route, prob, dprob, counted, rule);
}

void beam_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                      beam_tensor counted)
{
    if (!BEAM_CAN(be, router_load))
        return;
    const int64_t tokens = prob.dim[0], experts = prob.dim[1];
    BEAM_ASSERT(beam_is(load, BEAM_F64, BEAM_DIMS(2, experts)) && has_candidates(route, tokens, experts));
    BEAM_ASSERT(beam_is(prob, be->wide, BEAM_DIMS(tokens, experts)) &&
                beam_is(counted, BEAM_U8, BEAM_DIMS(tokens)));
    be->ops->router_load(be, load, route, prob, counted);
}

void beam_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule)
{
    if (!BEAM_CAN(be, gate_open))
        return;
    BEAM_ASSERT(has_candidates(route, route->expert.dim[0], route->kept.dim[0]));
    BEAM_ASSERT(has_mask(be, route) && is_per_pair(route->logit, be->wide, route));
    BEAM_ASSERT(rule.keep >= 0 && rule.share > 0 && rule.share <= 1 && rule.anchor >= 0);
    be->ops->gate_open(be, route, rule);
}

void beam_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                    const beam_gate_terms *terms)
{
    if (!BEAM_CAN(be, mask_gate))
        return;
    const int64_t tokens = product.dim[0], experts = product.dim[1];
    BEAM_ASSERT(beam_is(product, be->wide, BEAM_DIMS(tokens, experts)) &&
                has_candidates(route, tokens, experts));
    BEAM_ASSERT(has_mask(be, route) && is_per_pair(route->logit, be->wide, route));
    BEAM_ASSERT(has_terms(be, terms, experts, route->expert.dim[1]) && terms->temperature > 0);
    be->ops->mask_gate(be, route, product, terms);
}

void beam_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                         const beam_gate_terms *grad, const beam_route *route,
                         const beam_gate_grad_args *args)
{
    if (!BEAM_CAN(be, mask_gate_grad))
        return;
    const int64_t tokens = dproduct.dim[0], experts = dproduct.dim[1];
    BEAM_ASSERT(beam_is(dproduct, be->wide, BEAM_DIMS(tokens, experts)) &&
                has_candidates(route, tokens, experts));
    BEAM_ASSERT(has_mask(be, route) && has_terms(be, grad, experts, route->expert.dim[1]));
    BEAM_ASSERT(is_per_pair(args->dpair, be->wide, route) && is_per_pair(dweight, be->wide, route));
    BEAM_ASSERT(!args->dgiven.data || is_per_pair(args->dgiven, be->wide, route));
    BEAM_ASSERT(!args->dgate.data || is_per_pair(args->dgate, be->wide, route));
    BEAM_ASSERT(beam_is(args->counted, BEAM_U8, BEAM_DIMS(tokens)) && args->temperature > 0);
    be->ops->mask_gate_grad(be, dproduct, dweight, grad, route, args);
}

void beam_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                        beam_tensor counted, int64_t group, double weight)
{
    if (!BEAM_CAN(be, union_penalty))
        return;
    const int64_t tokens = route->expert.dim[0], experts = route->kept.dim[0];
    BEAM_ASSERT(has_candidates(route, tokens, experts) && beam_is_grouped(route, experts));
    BEAM_ASSERT(is_per_pair(route->gate, be->wide, route) && is_per_pair(dgate, be->wide, route));
    BEAM_ASSERT(beam_is(counted, BEAM_U8, BEAM_DIMS(tokens)) && beam_is(sum, BEAM_F64, BEAM_DIMS(2)));
    BEAM_ASSERT(group >= 1 && group <= tokens);
    be->ops->union_penalty(be, dgate, sum, route, counted, group, weight);
}

/* y [T,D] of tokens goes with a vector [D] of every expert. */
static bool gives_back(const beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route)
{
    const int64_t tokens = y.dim[0], width = y.dim[1], experts = given.dim[0];
    return beam_is(y, be->real, BEAM_DIMS(tokens, width)) &&
           beam_is(given, be->wide, BEAM_DIMS(experts, width)) && has_candidates(route, tokens, experts) &&
           has_mask(be, route);
}

void beam_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                    beam_mask_form form)
{
    if (!BEAM_CAN(be, give_back))
        return;
    BEAM_ASSERT(gives_back(be, y, given, route));
    be->ops->give_back(be, y, given, route, form);
}

void beam_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                         beam_tensor given, const beam_route *route, beam_mask_form form)
{
    if (!BEAM_CAN(be, give_back_grad))
        return;
    BEAM_ASSERT(gives_back(be, dy, given, route) && is_per_pair(dgiven, be->wide, route));
    BEAM_ASSERT(!dvector.data || (beam_is_like(dvector, given) && has_plan(route, dy.dim[0]) &&
                                  route->kept.dim[0] == given.dim[0]));
    be->ops->give_back_grad(be, dvector, dgiven, dy, given, route, form);
}

void beam_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted)
{
    if (!BEAM_CAN(be, mask_stats))
        return;
    const int64_t tokens = route->expert.dim[0], experts = stats.dim[0] - BEAM_STAT_EXPERTS;
    BEAM_ASSERT(stats.dtype == BEAM_F64 && stats.ndim == 1 && has_candidates(route, tokens, experts));
    BEAM_ASSERT(has_mask(be, route) && beam_is(counted, BEAM_U8, BEAM_DIMS(tokens)));
    be->ops->mask_stats(be, stats, route, counted);
}

void beam_route_plan(beam_backend *be, const beam_route *route)
{
    if (!BEAM_CAN(be, route_plan))
        return;
    BEAM_ASSERT(has_plan(route, route->expert.dim[0]) && is_per_pair(route->keep, BEAM_U8, route));
    BEAM_ASSERT(beam_count(route->expert) <= INT32_MAX);
    be->ops->route_plan(be, route);
}

/* x [T,D] of tokens goes with rows [R,D] of pairs. */
static bool is_rows_of(const beam_backend *be, beam_tensor rows, beam_tensor x, const beam_route *route)
{
    return beam_is(x, be->real, BEAM_DIMS(x.dim[0], x.dim[1])) && has_plan(route, x.dim[0]) &&
           beam_is(rows, be->real, BEAM_DIMS(beam_count(route->expert), x.dim[1]));
}

void beam_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                       beam_rows_of rows)
{
    if (!BEAM_CAN(be, route_gather))
        return;
    BEAM_ASSERT(is_rows_of(be, rows_x, x, route) && is_per_pair(route->keep, BEAM_U8, route));
    be->ops->route_gather(be, rows_x, x, route, rows);
}

void beam_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                            beam_rows_of rows)
{
    if (!BEAM_CAN(be, route_gather_grad))
        return;
    BEAM_ASSERT(is_rows_of(be, drows, dx, route) && is_per_pair(route->keep, BEAM_U8, route));
    be->ops->route_gather_grad(be, dx, drows, route, rows);
}

void beam_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                        beam_mask_form form)
{
    if (!BEAM_CAN(be, route_combine))
        return;
    BEAM_ASSERT(is_rows_of(be, rows_y, y, route) && has_mask(be, route));
    be->ops->route_combine(be, y, rows_y, route, form);
}

void beam_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form)
{
    if (!BEAM_CAN(be, route_weights))
        return;
    BEAM_ASSERT(has_plan(route, route->expert.dim[0]) && has_mask(be, route));
    BEAM_ASSERT(beam_is(rows, be->wide, BEAM_DIMS(beam_count(route->expert))));
    be->ops->route_weights(be, rows, route, form);
}

void beam_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                      beam_rows_of rows)
{
    if (!BEAM_CAN(be, route_pairs))
        return;
    BEAM_ASSERT(has_plan(route, route->expert.dim[0]) && is_per_pair(route->keep, BEAM_U8, route));
    BEAM_ASSERT(is_per_pair(pairs, be->wide, route) &&
                beam_is(numbers, be->wide, BEAM_DIMS(beam_count(route->expert))));
    be->ops->route_pairs(be, pairs, numbers, route, rows);
}

void beam_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                    beam_tensor gate_up, const beam_route *route, beam_rows_of rows)
{
    if (!BEAM_CAN(be, pair_grad))
        return;
    const int64_t n = dact.dim[0], width = dact.dim[1];
    BEAM_ASSERT(beam_is(dact, be->real, BEAM_DIMS(n, width)) && beam_is(dot, be->wide, BEAM_DIMS(n)));
    BEAM_ASSERT(beam_is(gate_up, be->real, BEAM_DIMS(n, 2 * width)) &&
                beam_is_grouped(route, route->kept.dim[0]));
    BEAM_ASSERT(!out || (beam_is_like(out->dgate_up, gate_up) && beam_is_like(out->weight, dot) &&
                         (!out->act.data || beam_is_like(out->act, dact))));
    be->ops->pair_grad(be, dot, out, dact, gate_up, route, rows);
}

void beam_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                       beam_rows_of rows)
{
    if (!BEAM_CAN(be, grouped_gemm))
        return;
    const int64_t r = p->c.dim[0], n = p->c.dim[1], m = p->a.dim[1], experts = p->b.dim[0];
    BEAM_ASSERT(beam_is(p->c, be->real, BEAM_DIMS(r, n)) && beam_is(p->a, be->real, BEAM_DIMS(r, m)) &&
                m > 0);
    BEAM_ASSERT(beam_is(p->b, be->real, BEAM_DIMS(experts, p->tb ? n : m, p->tb ? m : n)) &&
                beam_is_grouped(route, experts));
    BEAM_ASSERT(!p->x.data ||
                (is_rows_of(be, p->a, p->x, route) && is_per_pair(route->keep, BEAM_U8, route)));
    BEAM_ASSERT(!p->act.data || (n % 2 == 0 && beam_is(p->act, be->real, BEAM_DIMS(r, n / 2))));
    be->ops->grouped_gemm(be, p, route, rows);
}

void beam_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                        const beam_route *route, beam_rows_of rows)
{
    if (!BEAM_CAN(be, grouped_wgrad))
        return;
    const int64_t experts = dw.dim[0], n = dw.dim[1], m = dw.dim[2];
    BEAM_ASSERT(beam_is(dw, be->wide, BEAM_DIMS(experts, n, m)) && beam_is_grouped(route, experts));
    BEAM_ASSERT(beam_is(dy, be->real, BEAM_DIMS(dy.dim[0], n)) &&
                beam_is(x, be->real, BEAM_DIMS(dy.dim[0], m)));
    be->ops->grouped_wgrad(be, dw, dy, x, route, rows);
}
