/* Ops of the mixture of experts, as formulas. */
#include <math.h>
#include <string.h>

#include "kernels/ops.h"
#include "ops/reference.h"

bool reference_in_rows(const beam_route *route, int64_t r, beam_rows_of rows)
{
    if (!route || rows == BEAM_ROWS_ALL)
        return true;
    int64_t e = 0;
    while (e < route->kept.dim[0] && reference_i32(route->first)[e + 1] <= r)
        e++;
    const bool kept =
        e < route->kept.dim[0] && r < reference_i32(route->first)[e] + reference_i32(route->kept)[e];
    return kept == (rows == BEAM_ROWS_KEPT);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void reference_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                      beam_rows_of rows)
{
    (void)be;
    const int64_t F = y.dim[1];
    for (int64_t i = 0; i < beam_count(y); i++) {
        const double *in = reference_f64(gate_up) + i / F * 2 * F;
        const double gate = in[beam_interleave_row(i % F, 0, F)], up = in[beam_interleave_row(i % F, 1, F)];
        if (reference_in_rows(route, i / F, rows))
            reference_f64(y)[i] = gate * sigmoid(gate) * up;
    }
}

/* Rows of null experts stand behind all groups, where grouped ops do not go. */
static bool in_groups(const beam_route *route, int64_t r, beam_rows_of rows)
{
    return r < reference_i32(route->first)[route->kept.dim[0]] && reference_in_rows(route, r, rows);
}

/* dy swiglu' at i of [N,F]. */
static void swiglu_grad(beam_tensor dgate_up, double dy, beam_tensor gate_up, int64_t i)
{
    const int64_t F = gate_up.dim[1] / 2, row = i / F * 2 * F;
    const int64_t g = row + beam_interleave_row(i % F, 0, F), u = row + beam_interleave_row(i % F, 1, F);
    const double gate = reference_f64(gate_up)[g], up = reference_f64(gate_up)[u], s = sigmoid(gate);
    reference_f64(dgate_up)[g] = dy * up * s * (1 + gate * (1 - s));
    reference_f64(dgate_up)[u] = dy * gate * s;
}

void reference_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(dy); i++)
        swiglu_grad(dgate_up, reference_f64(dy)[i], gate_up, i);
}

void reference_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                         beam_tensor gate_up, const beam_route *route, beam_rows_of rows)
{
    (void)be;
    const int64_t F = dact.dim[1];
    for (int64_t r = 0; r < dact.dim[0]; r++) {
        const double *in = reference_f64(gate_up) + r * 2 * F;
        double sum = 0;
        for (int64_t j = 0; in_groups(route, r, rows) && j < F; j++) {
            const double gate = in[beam_interleave_row(j, 0, F)], up = in[beam_interleave_row(j, 1, F)];
            const double act = gate * sigmoid(gate) * up, d = reference_f64(dact)[r * F + j];
            sum += d * act;
            if (out && out->act.data)
                reference_f64(out->act)[r * F + j] = reference_f64(out->weight)[r] * act;
            if (out)
                swiglu_grad(out->dgate_up, reference_f64(out->weight)[r] * d, gate_up, r * F + j);
        }
        if (in_groups(route, r, rows))
            reference_f64(dot)[r] = sum;
    }
}

/* The best probability of group i of experts. */
static double best_of_group(const double *p, int64_t E, int64_t groups, int64_t i)
{
    double best = 0;
    for (int64_t e = i * (E / groups); e < (i + 1) * (E / groups); e++)
        best = fmax(best, p[e]);
    return best;
}

/* Whether fewer than kept_groups groups come before that of expert e. */
static bool in_kept_group(const double *p, int64_t E, beam_router_rule rule, int64_t e)
{
    const int64_t own = e / (E / rule.groups);
    const double best = best_of_group(p, E, rule.groups, own);
    int before = 0;
    for (int64_t i = 0; i < rule.groups; i++) {
        const double other = best_of_group(p, E, rule.groups, i);
        before += other > best || (other == best && i < own);
    }
    return before < rule.kept_groups;
}

static int64_t largest_left(const double *p, int64_t E, beam_router_rule rule, const int32_t *taken,
                            int64_t n)
{
    int64_t best = -1;
    for (int64_t e = 0; e < E; e++) {
        bool free = in_kept_group(p, E, rule, e);
        for (int64_t k = 0; k < n; k++)
            free = free && taken[k] != e;
        if (free && (best < 0 || p[e] > p[best]))
            best = e;
    }
    return best;
}

/* The weight of candidate e, before the scale: its share of what the candidates that are not null come to. */
static double weight_of(const beam_route *route, const double *p, const int32_t *expert, int64_t e,
                        beam_router_rule rule)
{
    double chosen = 0;
    for (int64_t k = 0; k < route->expert.dim[1]; k++)
        chosen += expert[k] < route->kept.dim[0] ? p[expert[k]] : 0;
    if (e >= route->kept.dim[0])
        return 0;
    return !rule.normalize ? p[e] : p[e] / chosen;
}

void reference_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                           beam_router_rule rule)
{
    (void)be;
    const int64_t E = logits.dim[1], K = route->expert.dim[1];
    for (int64_t t = 0; t < logits.dim[0]; t++) {
        const double *x = reference_f64(logits) + t * E;
        double *p = reference_f64(prob) + t * E, *w = reference_f64(route->weight) + t * K;
        int32_t *expert = (int32_t *)route->expert.data + t * K;
        double largest = -INFINITY, sum = 0;
        for (int64_t e = 0; e < E; e++)
            largest = fmax(largest, x[e]);
        for (int64_t e = 0; e < E; e++)
            sum += exp(x[e] - largest);
        for (int64_t e = 0; e < E; e++)
            p[e] = exp(x[e] - largest) / sum;
        for (int64_t k = 0; k < K; k++)
            expert[k] = (int32_t)largest_left(p, E, rule, expert, k);
        for (int64_t k = 0; k < K; k++)
            w[k] = rule.scale * weight_of(route, p, expert, expert[k], rule);
    }
}

void reference_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight,
                           const beam_route *route, beam_tensor prob, beam_tensor dprob, beam_tensor counted,
                           beam_router_rule rule)
{
    (void)be;
    const int64_t E = prob.dim[1], K = route->expert.dim[1];
    for (int64_t t = 0; t < prob.dim[0]; t++) {
        const double *p = reference_f64(prob) + t * E, *dw = reference_f64(dweight) + t * K;
        const int32_t *expert = reference_i32(route->expert) + t * K;
        double *d = reference_f64(dlogits) + t * E, mean = 0, dot = 0;
        for (int64_t k = 0; rule.normalize && k < K; k++)
            mean += weight_of(route, p, expert, expert[k], rule) * dw[k];
        for (int64_t e = 0; e < E; e++)
            d[e] = dprob.data && reference_u8(counted)[t] ? reference_f64(dprob)[e] : 0;
        for (int64_t k = 0; k < K; k++)
            d[expert[k]] +=
                rule.scale * (dw[k] - mean) * weight_of(route, p, expert, expert[k], rule) / p[expert[k]];
        for (int64_t e = 0; e < E; e++)
            dot += p[e] * d[e];
        for (int64_t e = 0; e < E; e++)
            d[e] = p[e] * (d[e] - dot);
    }
}

void reference_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                           beam_tensor counted)
{
    (void)be;
    const int64_t T = prob.dim[0], E = prob.dim[1], K = route->expert.dim[1];
    for (int64_t t = 0; t < T; t++) {
        if (!reference_u8(counted)[t])
            continue;
        for (int64_t k = 0; k < K; k++)
            reference_f64(load)[reference_i32(route->expert)[t * K + k]] += 1;
        for (int64_t e = 0; e < E; e++)
            reference_f64(load)[E + e] += reference_f64(prob)[t * E + e];
    }
}

void reference_route_plan(beam_backend *be, const beam_route *route)
{
    (void)be;
    const int32_t R = (int32_t)beam_count(route->expert), E = (int32_t)route->kept.dim[0];
    int32_t *first = route->first.data, *kept = route->kept.data, r = 0;
    for (int32_t e = 0; e < E; e++) {
        first[e] = r;
        for (int keep = 1; keep >= 0; keep--) {
            for (int32_t i = 0; i < R; i++)
                if (reference_i32(route->expert)[i] == e && reference_u8(route->keep)[i] == keep) {
                    ((int32_t *)route->row.data)[i] = r;
                    ((int32_t *)route->pair.data)[r++] = i;
                }
            if (keep)
                kept[e] = r - first[e];
        }
    }
    first[E] = r;
    for (int32_t i = 0; i < R; i++)
        if (reference_i32(route->expert)[i] >= E) {
            ((int32_t *)route->row.data)[i] = r;
            ((int32_t *)route->pair.data)[r++] = i;
        }
}

void reference_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                            beam_rows_of rows)
{
    (void)be;
    const int64_t D = x.dim[1], K = route->expert.dim[1];
    for (int64_t i = 0; i < beam_count(rows_x); i++)
        if (reference_in_rows(route, i / D, rows))
            reference_f64(rows_x)[i] = reference_f64(x)[reference_i32(route->pair)[i / D] / K * D + i % D];
}

void reference_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                                 beam_rows_of rows)
{
    (void)be;
    const int64_t D = dx.dim[1], K = route->expert.dim[1];
    for (int64_t i = 0; i < beam_count(drows); i++)
        if (reference_in_rows(route, i / D, rows))
            reference_f64(dx)[reference_i32(route->pair)[i / D] / K * D + i % D] += reference_f64(drows)[i];
}

/* Whether a pair takes part, and its weight w. */
static bool takes_part(const beam_route *route, int64_t i, beam_mask_form form, double *w)
{
    const double g = reference_f64(route->weight)[i];
    *w = form == BEAM_MASK_SOFT ? g * reference_f64(route->gate)[i] : g;
    return form == BEAM_MASK_SOFT || reference_u8(route->keep)[i];
}

void reference_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                             beam_mask_form form)
{
    const int64_t D = y.dim[1], K = route->expert.dim[1];
    double w;
    beam_zero(be, y);
    for (int64_t i = 0; i < beam_count(route->expert); i++)
        for (int64_t j = 0; takes_part(route, i, form, &w) && j < D; j++)
            reference_f64(y)[i / K * D + j] +=
                w * reference_f64(rows_y)[reference_i32(route->row)[i] * D + j];
}

void reference_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(route->expert); i++) {
        double w;
        const bool runs =
            takes_part(route, i, form, &w) && reference_i32(route->expert)[i] < route->kept.dim[0];
        reference_f64(rows)[reference_i32(route->row)[i]] = runs ? w : 0;
    }
}

void reference_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                           beam_rows_of rows)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(pairs); i++) {
        const int64_t row = reference_i32(route->row)[i];
        if (in_groups(route, row, rows))
            reference_f64(pairs)[i] = reference_f64(numbers)[row];
    }
}

static int64_t token_of(const beam_route *route, int64_t r)
{
    return reference_i32(route->pair)[r] / route->expert.dim[1];
}

static int64_t expert_of(const beam_route *route, int64_t r)
{
    return reference_i32(route->expert)[reference_i32(route->pair)[r]];
}

void reference_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                            beam_rows_of rows)
{
    const int64_t N = p->c.dim[1], M = p->a.dim[1];
    for (int64_t i = 0; i < beam_count(p->c); i++) {
        const int64_t r = i / N, n = i % N;
        if (!in_groups(route, r, rows))
            continue;
        const double *w = reference_f64(p->b) + expert_of(route, r) * M * N;
        const double *in =
            p->x.data ? reference_f64(p->x) + token_of(route, r) * M : reference_f64(p->a) + r * M;
        double sum = 0;
        for (int64_t m = 0; m < M; m++)
            sum += in[m] * w[p->tb ? n * M + m : m * N + n];
        reference_f64(p->c)[i] = sum;
    }
    if (p->act.data)
        reference_swiglu(be, p->act, p->c, route, rows);
}

void reference_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                             const beam_route *route, beam_rows_of rows)
{
    (void)be;
    const int64_t N = dy.dim[1], M = x.dim[1];
    for (int64_t r = 0; r < dy.dim[0]; r++) {
        double *w = reference_f64(dw) + expert_of(route, r) * N * M;
        if (!reference_in_rows(route, r, rows))
            continue;
        for (int64_t i = 0; i < N * M; i++)
            w[i] += reference_f64(dy)[r * N + i / M] * reference_f64(x)[r * M + i % M];
    }
}
