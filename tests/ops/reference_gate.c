/* Gates, as formulas. */
#include <math.h>

#include "kernels/ops.h"
#include "ops/reference.h"

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double sum_of_first(const double *w, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += w[k];
    return sum;
}

void reference_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule)
{
    (void)be;
    const int64_t K = route->expert.dim[1];
    for (int64_t t = 0; t < route->expert.dim[0]; t++) {
        double *w = reference_f64(route->weight) + t * K;
        const double all = sum_of_first(w, K);
        int64_t kept = 0;
        while (kept < K && kept < rule.keep && (rule.share == 1 || sum_of_first(w, kept) < rule.share * all))
            kept++;
        const double anchor = sum_of_first(w, rule.anchor < kept ? kept : rule.anchor < K ? rule.anchor : K);
        for (int64_t k = 0; k < K; k++) {
            const bool runs = reference_i32(route->expert)[t * K + k] < route->kept.dim[0];
            ((uint8_t *)route->keep.data)[t * K + k] = k < kept && runs;
            reference_f64(route->gate)[t * K + k] = runs;
            reference_f64(route->logit)[t * K + k] = 0;
            w[k] *= k < kept && runs ? all / anchor : 1;
        }
    }
}

/* log(K g'), g' = g / sum of g, of pair i. */
static double log_share(const beam_route *route, int64_t i)
{
    const int64_t K = route->expert.dim[1];
    double sum = 0;
    for (int64_t k = 0; k < K; k++)
        sum += reference_f64(route->weight)[i / K * K + k];
    return log((double)K * reference_f64(route->weight)[i] / sum);
}

void reference_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                         const beam_gate_terms *terms)
{
    (void)be;
    const int64_t E = product.dim[1], K = route->expert.dim[1];
    for (int64_t i = 0; i < beam_count(route->expert); i++) {
        const int32_t e = reference_i32(route->expert)[i];
        double u = reference_f64(product)[i / K * E + e];
        u += terms->bias.data ? reference_f64(terms->bias)[e] : 0;
        u += terms->scale.data ? reference_f64(terms->scale)[0] * log_share(route, i) : 0;
        u += terms->rank_bias.data ? reference_f64(terms->rank_bias)[i % K] : 0;
        reference_f64(route->logit)[i] = u;
        reference_f64(route->gate)[i] = sigmoid(u / terms->temperature);
        ((uint8_t *)route->keep.data)[i] = u >= terms->cutoff;
    }
}

void reference_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                              const beam_gate_terms *grad, const beam_route *route,
                              const beam_gate_grad_args *args)
{
    const int64_t E = dproduct.dim[1], K = route->expert.dim[1];
    beam_zero(be, dproduct);
    for (int64_t i = 0; i < beam_count(route->expert); i++) {
        const int32_t e = reference_i32(route->expert)[i];
        const double a = reference_f64(args->dpair)[i], g = reference_f64(route->weight)[i];
        const double q = reference_f64(route->gate)[i];
        const double m = args->form == BEAM_MASK_SOFT ? q : reference_u8(route->keep)[i];
        const double given = args->dgiven.data ? reference_f64(args->dgiven)[i] : 0;
        const double n = reference_u8(args->counted)[i / K] ? 1 : 0;
        double dq = g * (a - given) + n * args->penalty * (args->squared ? 2 * q : 1);
        dq += args->dgate.data ? reference_f64(args->dgate)[i] : 0;
        const double du = dq * q * (1 - q) / args->temperature;
        reference_f64(dproduct)[i / K * E + e] = du;
        reference_f64(dweight)[i] = m * a + (1 - m) * given;
        if (grad->bias.data)
            reference_f64(grad->bias)[e] += du;
        if (grad->scale.data)
            reference_f64(grad->scale)[0] += du * log_share(route, i);
        if (grad->rank_bias.data)
            reference_f64(grad->rank_bias)[i % K] += du;
    }
}

void reference_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted)
{
    (void)be;
    const int64_t K = route->expert.dim[1];
    double *s = reference_f64(stats);
    for (int64_t t = 0; t < route->expert.dim[0]; t++) {
        double kept = 0;
        for (int64_t i = t * K; i < (t + 1) * K && reference_u8(counted)[t]; i++) {
            kept += reference_u8(route->keep)[i];
            s[BEAM_STAT_SOFT] += reference_f64(route->gate)[i] / (double)K;
            s[BEAM_STAT_SQUARE] += pow(reference_f64(route->gate)[i], 2) / (double)K;
            if (reference_i32(route->expert)[i] < stats.dim[0] - BEAM_STAT_EXPERTS)
                s[BEAM_STAT_EXPERTS + reference_i32(route->expert)[i]] += reference_u8(route->keep)[i];
        }
        s[BEAM_STAT_TOKENS] += reference_u8(counted)[t];
        s[BEAM_STAT_KEPT] += kept;
        s[BEAM_STAT_NONE_KEPT] += reference_u8(counted)[t] && kept == 0;
    }
}
