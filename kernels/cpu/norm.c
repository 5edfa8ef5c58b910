/* RMSNorm. Sums are taken in double. */
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { CHUNKS = 64 }; /* of rows: dweight is summed within each, then over them in order */

real beam_cpu_normalize_row(real *y, const real *x, const real *weight, int64_t n, double epsilon)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    const real r = (real)(1 / sqrt(sum / (double)n + epsilon));
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * r * weight[i];
    return r;
}

void beam_cpu_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x, beam_tensor weight,
                      double epsilon)
{
    const int64_t n = weight.dim[0], rows = beam_count(inverse);
#pragma omp parallel for num_threads(be->threads)
    for (int64_t r = 0; r < rows; r++)
        beam_real(inverse)[r] =
            beam_cpu_normalize_row(beam_real(y) + r * n, beam_real(x) + r * n, beam_real(weight), n, epsilon);
}

/* dx = beta * dx + inverse * (dy * w - x * inverse^2 * mean(dy * w * x)) */
static void input_grad_row(real *dx, const real *dy, const real *x, const real *weight, real inverse,
                           int64_t n, real beta)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)(dy[i] * weight[i]) * (double)x[i];
    const real along = (real)((double)inverse * (double)inverse * sum / (double)n);
    if (beta == 0) { /* dx may hold anything, even NaN */
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dx[i] = inverse * (dy[i] * weight[i] - x[i] * along);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            dx[i] = beta * dx[i] + inverse * (dy[i] * weight[i] - x[i] * along);
    }
}

static void add_weight_grad_row(double *sum, const real *dy, const real *x, real inverse, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        sum[i] += (double)(dy[i] * inverse * x[i]);
}

void beam_cpu_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                           beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta)
{
    const int64_t n = weight.dim[0], rows = beam_count(inverse);
    const int64_t room = BEAM_CPU_SCRATCH / (n * (int64_t)sizeof(double));
    const int64_t chunks = room < CHUNKS ? room : CHUNKS;
    double *sums = dweight.data ? beam_cpu_scratch(be) : NULL; /* [chunks, n] */
    BEAM_ASSERT(chunks > 0);
#pragma omp parallel num_threads(be->threads)
    {
#pragma omp for
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            double *sum = sums ? sums + chunk * n : NULL;
            if (sum)
                memset(sum, 0, (size_t)n * sizeof *sum);
            for (int64_t r = rows * chunk / chunks; r < rows * (chunk + 1) / chunks; r++) {
                const real *dy_row = beam_real(dy) + r * n, *x_row = beam_real(x) + r * n;
                if (sum) /* first: dx may be dy */
                    add_weight_grad_row(sum, dy_row, x_row, beam_real(inverse)[r], n);
                input_grad_row(beam_real(dx) + r * n, dy_row, x_row, beam_real(weight), beam_real(inverse)[r],
                               n, (real)beta);
            }
        }
        if (sums) {
#pragma omp for
            for (int64_t i = 0; i < n; i++) {
                double sum = 0;
                for (int64_t chunk = 0; chunk < chunks; chunk++)
                    sum += sums[chunk * n + i];
                beam_real(dweight)[i] += (real)sum;
            }
        }
    }
}
