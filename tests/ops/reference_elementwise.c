/* Biases, clipping and gated addition, as formulas. */
#include <math.h>

#include "ops/reference.h"

void reference_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(y); i++)
        reference_f64(y)[i] += reference_f64(bias)[i % bias.dim[0]];
}

void reference_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(dy); i++)
        reference_f64(dbias)[i % dbias.dim[0]] += reference_f64(dy)[i];
}

void reference_clip(beam_backend *be, beam_tensor x, double limit)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(x); i++)
        if (fabs(reference_f64(x)[i]) > limit)
            reference_f64(x)[i] = copysign(limit, reference_f64(x)[i]);
}

void reference_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(x); i++)
        if (fabs(reference_f64(x)[i]) >= limit)
            reference_f64(dx)[i] = 0;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

void reference_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score)
{
    (void)be;
    for (int64_t i = 0; i < beam_count(x); i++)
        reference_f64(y)[i] += sigmoid(reference_f64(score)[i / x.dim[1]]) * reference_f64(x)[i];
}

void reference_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy,
                              beam_tensor x, beam_tensor score)
{
    (void)be;
    const int64_t D = x.dim[1];
    for (int64_t t = 0; t < x.dim[0]; t++) {
        const double s = sigmoid(reference_f64(score)[t]);
        double sum = 0;
        for (int64_t i = t * D; i < (t + 1) * D; i++) {
            sum += reference_f64(dy)[i] * reference_f64(x)[i];
            reference_f64(dx)[i] = s * reference_f64(dy)[i];
        }
        reference_f64(dscore)[t] = sum * s * (1 - s);
    }
}
