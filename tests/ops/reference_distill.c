/* Distillation. */
#include <math.h>

#include "ops/reference.h"

/* log of the sum of exp(x / tau). */
static double log_sum(const double *x, int64_t V, double tau)
{
    double largest = x[0], sum = 0;
    for (int64_t i = 1; i < V; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (int64_t i = 0; i < V; i++)
        sum += exp((x[i] - largest) / tau);
    return log(sum) + largest / tau;
}

static void distill_row(double *x, const double *y, int64_t V, int32_t target, double *divergence,
                        const beam_distill_args *args)
{
    const double tau = args->temperature, w = args->weight;
    const double own = log_sum(x, V, 1), student = log_sum(x, V, tau), teacher = log_sum(y, V, tau);
    *divergence = 0;
    for (int64_t i = 0; i < V; i++) {
        const double s = x[i] / tau - student, p = y[i] / tau - teacher;
        *divergence += exp(p) == 0 ? 0 : tau * tau * exp(p) * (p - s);
        const double hard = exp(x[i] - own) - (i == target), soft = tau * (exp(s) - exp(p));
        if (args->want_grad)
            x[i] = args->grad_scale * (w == 0 ? hard : (1 - w) * hard + w * soft);
    }
}

void reference_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                       beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                       const beam_distill_args *args)
{
    const int64_t V = logits.dim[1];
    reference_cross_entropy(be, logits, target, loss, correct, 0, false);
    for (int64_t t = 0; t < logits.dim[0]; t++) {
        double *x = reference_f64(logits) + t * V, *kl = reference_f64(divergence) + t;
        const int32_t wanted = reference_i32(target)[t];
        *kl = 0;
        if (wanted >= 0)
            distill_row(x, reference_f64(teacher) + t * V, V, wanted, kl, args);
        for (int64_t i = 0; i < V && wanted < 0 && args->want_grad; i++)
            x[i] = 0;
    }
}
