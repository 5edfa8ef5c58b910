/* The base model's router: probabilities, the top-k candidates of each token, and their gradients. */
#include <float.h>

#include "kernels/cpu/columns.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/real.h"
#include "kernels/cpu/vec.h"

/* prob[n] = softmax(logit[n]). */
static void softmax(real *prob, const real *logit, int64_t n)
{
    real top = -(real)INFINITY, sum = 0;
#pragma omp simd reduction(max : top)
    for (int64_t e = 0; e < n; e++)
        top = logit[e] > top ? logit[e] : top;
#pragma omp simd reduction(+ : sum)
    for (int64_t e = 0; e < n; e++)
        sum += prob[e] = beam_exp(logit[e] - top);
    for (int64_t e = 0; e < n; e++)
        prob[e] /= sum;
}

/* The lowest logit that is told apart. OpenMP's search for a maximum begins with minus infinity (gcc) or with
 * the lowest finite number (clang), and what lies below its begin would not be found again. */
static const real lowest = -(real)FLT_MAX;

/* The largest of left[n] that is not NaN. */
static real largest(const real *left, int64_t n)
{
    real high = lowest;
#pragma omp simd reduction(max : high)
    for (int64_t e = 0; e < n; e++)
        high = left[e] > high ? left[e] : high;
    return high;
}

/* Takes the `drop` groups out of left[n] whose largest number is lowest; of equal ones the last. */
static void drop_groups(real *left, int64_t n, int groups, int drop)
{
    const int64_t length = n / groups;
    for (int i = 0; i < drop; i++) {
        int64_t worst = -1;
        real low = 0;
        for (int64_t at = 0; at < n; at += length) {
            const real high = largest(left + at, length);
            if (!isnan(left[at]) && (worst < 0 || high <= low)) {
                worst = at;
                low = high;
            }
        }
        for (int64_t e = worst; e < worst + length; e++)
            left[e] = (real)NAN;
    }
}

/* The k largest of logit[n] that the rule allows into expert[k], best first, equal ones in the order of ids.
 * The order of logits is that of the probabilities, without the ties that rounding and underflow add to
 * those. NaN counts as the lowest logit, and so does minus infinity: ids stay valid and distinct, and the NaN
 * probabilities carry the error on to the loss. left[n] is scratch: the logits not taken yet, NaN where
 * taken, which is never the largest and equals nothing. */
static void topk(int32_t *expert, int64_t k, const real *logit, int64_t n, beam_router_rule rule, real *left)
{
    for (int64_t e = 0; e < n; e++)
        left[e] = logit[e] > lowest ? logit[e] : lowest;
    drop_groups(left, n, rule.groups, rule.groups - rule.kept_groups);
    for (int64_t i = 0; i < k; i++) {
        const real high = largest(left, n);
        int32_t best = 0;
        while (left[best] != high)
            best++;
        expert[i] = best;
        left[best] = (real)NAN;
    }
}

/* What the weights of a token's candidates are divided by. Null experts have no part in it. They may leave
 * the others so little that a gradient through the quotient overflows: then 0, and the weights are 0 too. NaN
 * passes through. */
static real divisor(const real *p, const int32_t *expert, int64_t K, int64_t experts, beam_router_rule rule)
{
    real sum = 0;
    if (!rule.normalize)
        return 1;
    for (int64_t k = 0; k < K; k++)
        if (expert[k] < experts)
            sum += p[expert[k]];
    return sum < (real)1e-30 ? 0 : sum;
}

void beam_cpu_router_topk(beam_backend *be, const beam_route *route, beam_tensor prob, beam_tensor logits,
                          beam_router_rule rule)
{
    const int64_t tokens = logits.dim[0], E = logits.dim[1], K = route->expert.dim[1];
    const int64_t experts = route->kept.dim[0];
    const real scale = (real)rule.scale;
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const real *logit = beam_real(logits) + t * E;
        real *p = beam_real(prob) + t * E, *weight = beam_real(route->weight) + t * K;
        int32_t *expert = (int32_t *)route->expert.data + t * K;
        topk(expert, K, logit, E, rule, p);
        softmax(p, logit, E);
        const real sum = divisor(p, expert, K, experts, rule);
        for (int64_t k = 0; k < K; k++)
            weight[k] = expert[k] < experts && sum != 0 ? p[expert[k]] / sum * scale : 0;
    }
}

/* dp[E] += dL/dprob of one token's candidates, from the gradient of their weights, which are scale * p, or
 * scale * p / sum of p. */
static void weight_grad(real *dp, const real *dweight, const int32_t *expert, const real *p, int64_t K,
                        int64_t experts, beam_router_rule rule)
{
    const real sum = divisor(p, expert, K, experts, rule);
    real shared = 0;
    if (sum == 0)
        return;
    for (int64_t k = 0; rule.normalize && k < K; k++)
        if (expert[k] < experts)
            shared += dweight[k] * p[expert[k]];
    shared /= sum;
    for (int64_t k = 0; k < K; k++)
        if (expert[k] < experts)
            dp[expert[k]] += (real)rule.scale * (dweight[k] - shared) / sum;
}

void beam_cpu_router_grad(beam_backend *be, beam_tensor dlogits, beam_tensor dweight, const beam_route *route,
                          beam_tensor prob, beam_tensor dprob, beam_tensor counted, beam_router_rule rule)
{
    const int64_t tokens = prob.dim[0], E = prob.dim[1], K = route->expert.dim[1];
    const int64_t experts = route->kept.dim[0];
    const real *balance = beam_real(dprob);
    const uint8_t *is_counted = counted.data;
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const real *p = beam_real(prob) + t * E;
        real *d = beam_real(dlogits) + t * E, dot = 0;
        for (int64_t e = 0; e < E; e++)
            d[e] = balance && is_counted[t] ? balance[e] : 0;
        weight_grad(d, beam_real(dweight) + t * K, beam_i32(route->expert) + t * K, p, K, experts, rule);
#pragma omp simd reduction(+ : dot)
        for (int64_t e = 0; e < E; e++)
            dot += p[e] * d[e];
#pragma omp simd
        for (int64_t e = 0; e < E; e++)
            d[e] = p[e] * (d[e] - dot);
    }
}

void beam_cpu_router_load(beam_backend *be, beam_tensor load, const beam_route *route, beam_tensor prob,
                          beam_tensor counted)
{
    const int64_t tokens = prob.dim[0], E = prob.dim[1], K = route->expert.dim[1];
    const uint8_t *is_counted = counted.data;
    const int32_t *expert = beam_i32(route->expert);
    double *chosen = load.data, *mass = chosen + E;
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t k = 0; k < K; k++)
            chosen[expert[t * K + k]] += is_counted[t];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t first = 0; first < E; first += BEAM_COLUMN_BLOCK) {
        double sum[BEAM_COLUMN_BLOCK];
        const int64_t n = beam_sum_columns(sum, prob, first, is_counted);
        for (int64_t i = 0; i < n; i++)
            mass[first + i] += sum[i];
    }
}
