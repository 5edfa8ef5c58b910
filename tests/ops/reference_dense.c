/* Dense ops and the update, as formulas. */
#include <math.h>

#include "kernels/ops.h"
#include "ops/reference.h"

static double element(beam_tensor x, bool transposed, int64_t i, int64_t j)
{
    const int64_t columns = x.dim[x.ndim - 1];
    return reference_f64(x)[transposed ? j * columns + i : i * columns + j];
}

void reference_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                    double alpha, double beta)
{
    (void)be;
    const int64_t N = c.dim[c.ndim - 1], M = beam_count(c) / N, K = tb ? b.dim[1] : b.dim[0];
    for (int64_t i = 0; i < M; i++)
        for (int64_t j = 0; j < N; j++) {
            double sum = 0;
            for (int64_t k = 0; k < K; k++)
                sum += element(a, ta, i, k) * element(b, tb, k, j);
            double *out = &reference_f64(c)[i * N + j];
            *out = alpha * sum + (beta != 0 ? beta * *out : 0);
        }
}

void reference_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    (void)be;
    const int64_t D = y.dim[1];
    for (int64_t i = 0; i < beam_count(y); i++)
        reference_f64(y)[i] = reference_f64(table)[reference_i32(id)[i / D] * D + i % D];
}

void reference_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id)
{
    (void)be;
    const int64_t D = dy.dim[1];
    for (int64_t i = 0; i < beam_count(dy); i++)
        reference_f64(dtable)[reference_i32(id)[i / D] * D + i % D] += reference_f64(dy)[i];
}

void reference_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x,
                       beam_tensor weight, double epsilon)
{
    (void)be;
    const int64_t N = weight.dim[0];
    for (int64_t r = 0; r < beam_count(x) / N; r++) {
        const double *in = reference_f64(x) + r * N;
        double squares = 0;
        for (int64_t i = 0; i < N; i++)
            squares += in[i] * in[i];
        reference_f64(inverse)[r] = 1 / sqrt(squares / (double)N + epsilon);
        for (int64_t i = 0; i < N; i++)
            reference_f64(y)[r * N + i] = in[i] * reference_f64(inverse)[r] * reference_f64(weight)[i];
    }
}

void reference_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                            beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta)
{
    (void)be;
    const int64_t N = weight.dim[0];
    const double *w = reference_f64(weight);
    for (int64_t r = 0; r < beam_count(x) / N; r++) {
        const double *in = reference_f64(x) + r * N, *d = reference_f64(dy) + r * N;
        const double s = reference_f64(inverse)[r];
        double *out = reference_f64(dx) + r * N, dot = 0;
        for (int64_t i = 0; i < N; i++)
            dot += d[i] * w[i] * in[i];
        for (int64_t i = 0; i < N; i++) {
            out[i] = (beta != 0 ? beta * out[i] : 0) + s * d[i] * w[i] - s * s * s * in[i] * dot / (double)N;
            if (dweight.data)
                reference_f64(dweight)[i] += d[i] * in[i] * s;
        }
    }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void reference_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                             beam_tensor correct, double grad_scale, bool want_grad)
{
    (void)be;
    const int64_t V = logits.dim[1];
    for (int64_t t = 0; t < logits.dim[0]; t++) {
        double *x = reference_f64(logits) + t * V, sum = 0;
        const int32_t wanted = reference_i32(target)[t];
        int64_t best = 0;
        for (int64_t i = 1; i < V; i++)
            best = x[i] > x[best] ? i : best;
        const double largest = x[best];
        for (int64_t i = 0; i < V; i++)
            sum += exp(x[i] - largest);
        reference_f64(loss)[t] = wanted < 0 ? 0 : log(sum) + largest - x[wanted];
        ((uint8_t *)correct.data)[t] = best == wanted;
        for (int64_t i = 0; i < V && want_grad; i++)
            x[i] = wanted < 0 ? 0 : grad_scale * (exp(x[i] - largest) / sum - (i == wanted));
    }
}

void reference_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                     const beam_adamw_args *args)
{
    (void)be;
    const double b1 = args->beta1, b2 = args->beta2, step = (double)args->step;
    for (int64_t i = 0; i < beam_count(value); i++) {
        const double g = args->grad_scale * reference_f64(grad)[i];
        double *w = reference_f64(value) + i, *mi = reference_f64(m) + i, *vi = reference_f64(v) + i;
        *mi = b1 * *mi + (1 - b1) * g;
        *vi = b2 * *vi + (1 - b2) * g * g;
        const double mean = *mi / (1 - pow(b1, step)), square = *vi / (1 - pow(b2, step));
        *w -= args->learning_rate * args->weight_decay * *w;
        *w -= args->learning_rate * mean / (sqrt(square) + args->epsilon);
    }
}

void reference_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    (void)be;
    for (int64_t i = 0; i < x.dim[0]; i++) {
        const double *row = reference_f64(x) + i * x.dim[1];
        reference_f64(sum)[i] += dot(row, row, x.dim[1]);
    }
}
