/* Mask gates: which of a token's candidates run, the gradient of that choice (straight-through), statistics.
 */
#include <float.h>
#include <string.h>
#include <tgmath.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/real.h"
#include "kernels/cpu/vec.h"

/* Sum of the first n weights of a token. */
static real weight_sum(const real *weight, int64_t n)
{
    real sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += weight[k];
    return sum;
}

/* log(K g / sum). A weight that underflowed to 0 counts as the smallest normal float, whose log is finite, so
 * that a scale or a gradient of 0 times it is 0 and not NaN. NaN passes through. */
static real log_share(real g, real sum, int64_t K)
{
    const real share = (real)K * (g / sum), tiny = (real)FLT_MIN;
    return log(share < tiny ? tiny : share);
}

/* How many of a token's candidates the rule keeps. With a NaN among the weights no sum reaches the share. */
static int64_t kept_count(const real *weight, int64_t K, beam_prune_rule rule)
{
    const int64_t most = rule.keep < K ? rule.keep : K;
    if (rule.share >= 1)
        return most;
    const double enough = rule.share * (double)weight_sum(weight, K);
    real sum = 0;
    for (int64_t k = 0; k < most; k++) {
        sum += weight[k];
        if ((double)sum >= enough)
            return k + 1;
    }
    return most;
}

/* What the kept weights are multiplied by. */
static real anchored_gain(const real *weight, int64_t K, int64_t kept, int anchor)
{
    const int64_t n = anchor > kept ? anchor : kept;
    return n < K ? weight_sum(weight, K) / weight_sum(weight, n) : 1;
}

void beam_cpu_gate_open(beam_backend *be, const beam_route *route, beam_prune_rule rule)
{
    const int64_t tokens = route->expert.dim[0], K = route->expert.dim[1], experts = route->kept.dim[0];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        real *weight = beam_real(route->weight) + t * K;
        const int64_t kept = kept_count(weight, K, rule);
        const real gain = anchored_gain(weight, K, kept, rule.anchor);
        for (int64_t k = 0; k < K; k++) {
            const bool is_null = beam_i32(route->expert)[t * K + k] >= experts;
            beam_real(route->logit)[t * K + k] = 0;
            beam_real(route->gate)[t * K + k] = is_null ? 0 : 1;
            ((uint8_t *)route->keep.data)[t * K + k] = k < kept && !is_null;
            if (k < kept && !is_null)
                weight[k] *= gain;
        }
    }
}

void beam_cpu_mask_gate(beam_backend *be, const beam_route *route, beam_tensor product,
                        const beam_gate_terms *terms)
{
    const int64_t tokens = product.dim[0], E = product.dim[1], K = route->expert.dim[1];
    const real *bias = beam_real(terms->bias), *rank_bias = beam_real(terms->rank_bias);
    const real *scale = beam_real(terms->scale), temperature = (real)terms->temperature;
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const real *weight = beam_real(route->weight) + t * K, sum = weight_sum(weight, K);
        for (int64_t k = 0; k < K; k++) {
            const int32_t e = beam_i32(route->expert)[t * K + k];
            real u = beam_real(product)[t * E + e];
            if (bias)
                u += bias[e];
            if (scale)
                u += scale[0] * log_share(weight[k], sum, K);
            if (rank_bias)
                u += rank_bias[k];
            beam_real(route->logit)[t * K + k] = u;
            beam_real(route->gate)[t * K + k] = beam_sigmoid(u / temperature);
            ((uint8_t *)route->keep.data)[t * K + k] = (double)u >= terms->cutoff;
        }
    }
}

/* dL/dg of a pair: `a` is what running its expert is worth, `given` (NULL: 0) what dropping it gives back. */
static real weight_grad(real a, const real *given, real q, bool kept, beam_mask_form form)
{
    if (form == BEAM_MASK_SOFT)
        return given ? q * a + (1 - q) * *given : q * a;
    return kept ? a : given ? *given : 0;
}

/* du of every token's candidates into dproduct, and the gradient of the combine weights. */
static void pair_grads(beam_backend *be, beam_tensor dproduct, beam_tensor dweight, const beam_route *route,
                       const beam_gate_grad_args *args)
{
    const int64_t tokens = dproduct.dim[0], E = dproduct.dim[1], K = route->expert.dim[1];
    const uint8_t *keep = route->keep.data, *counted = args->counted.data;
    const real penalty = (real)args->penalty, temperature = (real)args->temperature;
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        real *du = beam_real(dproduct) + t * E;
        memset(du, 0, (size_t)E * sizeof(real));
        for (int64_t r = t * K; r < (t + 1) * K; r++) {
            const real a = beam_real(args->dpair)[r], q = beam_real(route->gate)[r];
            const real *given = args->dgiven.data ? beam_real(args->dgiven) + r : NULL;
            real dq = beam_real(route->weight)[r] * (given ? a - *given : a);
            if (args->dgate.data)
                dq += beam_real(args->dgate)[r];
            if (counted[t])
                dq += args->squared ? 2 * q * penalty : penalty;
            du[beam_i32(route->expert)[r]] = dq * q * (1 - q) / temperature;
            beam_real(dweight)[r] = weight_grad(a, given, q, keep[r] != 0, args->form);
        }
    }
}

/* rank_bias[K] and scale[1] += their sums over tokens. Threads share the ranks; `ordered` adds the ranks'
 * parts of the scale one after the other. */
static void rank_grads(beam_backend *be, real *rank_bias, real *scale, beam_tensor du,
                       const beam_route *route)
{
    const int64_t tokens = du.dim[0], E = du.dim[1], K = route->expert.dim[1];
    const int32_t *expert = beam_i32(route->expert);
    double scale_sum = 0;
#pragma omp parallel for ordered num_threads(be->threads) schedule(static, 1)
    for (int64_t k = 0; k < K; k++) {
        double sum = 0, shared = 0;
        for (int64_t t = 0; t < tokens; t++) {
            const real *weight = beam_real(route->weight) + t * K;
            const double d = (double)beam_real(du)[t * E + expert[t * K + k]];
            sum += d;
            if (scale)
                shared += d * (double)log_share(weight[k], weight_sum(weight, K), K);
        }
        if (rank_bias)
            rank_bias[k] += (real)sum;
#pragma omp ordered
        scale_sum += shared;
    }
    if (scale)
        scale[0] += (real)scale_sum;
}

void beam_cpu_mask_gate_grad(beam_backend *be, beam_tensor dproduct, beam_tensor dweight,
                             const beam_gate_terms *grad, const beam_route *route,
                             const beam_gate_grad_args *args)
{
    pair_grads(be, dproduct, dweight, route, args);
    if (grad->bias.data)
        beam_cpu_bias_grad(be, grad->bias, dproduct);
    if (grad->rank_bias.data || grad->scale.data)
        rank_grads(be, grad->rank_bias.data, grad->scale.data, dproduct, route);
}

/* One thread: a few thousand small numbers, in the order of tokens. */
void beam_cpu_mask_stats(beam_backend *be, beam_tensor stats, const beam_route *route, beam_tensor counted)
{
    const int64_t tokens = route->expert.dim[0], K = route->expert.dim[1];
    const uint8_t *is_counted = counted.data, *keep = route->keep.data;
    double *s = stats.data, soft = 0, square = 0;
    (void)be;
    for (int64_t t = 0; t < tokens; t++) {
        if (!is_counted[t])
            continue;
        int64_t kept = 0;
        for (int64_t r = t * K; r < (t + 1) * K; r++) {
            const double q = (double)beam_real(route->gate)[r];
            soft += q;
            square += q * q;
            if (!keep[r]) /* a null expert has no column */
                continue;
            kept++;
            s[BEAM_STAT_EXPERTS + beam_i32(route->expert)[r]] += 1;
        }
        s[BEAM_STAT_TOKENS] += 1;
        s[BEAM_STAT_KEPT] += (double)kept;
        s[BEAM_STAT_NONE_KEPT] += kept == 0;
    }
    s[BEAM_STAT_SOFT] += soft / (double)K;
    s[BEAM_STAT_SQUARE] += square / (double)K;
}
