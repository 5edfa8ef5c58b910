/* The optimizer's step and the sum of squares for clipping. */
#include "kernels/cpu/cpu.h"

enum { CHUNKS = 256 }; /* partial sums of squares */

void beam_cpu_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                    const beam_adamw_args *args)
{
    const double correction1 = 1 - pow(args->beta1, (double)args->step);
    const double correction2 = 1 - pow(args->beta2, (double)args->step);
    const real decay = (real)(1 - args->learning_rate * args->weight_decay);
    const real step = (real)(args->learning_rate / correction1);
    const real scale2 = (real)(1 / sqrt(correction2)), epsilon = (real)args->epsilon;
    const real beta1 = (real)args->beta1, rest1 = (real)(1 - args->beta1);
    const real beta2 = (real)args->beta2, rest2 = (real)(1 - args->beta2);
    const real scale = (real)args->grad_scale;
    real *p = beam_real(value), *mean = beam_real(m), *square = beam_real(v);
    const real *g = beam_real(grad);
    const int64_t n = beam_count(value);
#pragma omp parallel for simd num_threads(be->threads)
    for (int64_t i = 0; i < n; i++) {
        const real x = scale * g[i];
        mean[i] = beta1 * mean[i] + rest1 * x;
        square[i] = beta2 * square[i] + rest2 * x * x;
        p[i] = decay * p[i] - step * mean[i] / ((real)sqrt(square[i]) * scale2 + epsilon);
    }
}

void beam_cpu_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    const int64_t n = beam_count(x), size = (n / CHUNKS + 16) / 16 * 16;
    const real *at = beam_real(x);
    double part[CHUNKS];
#pragma omp parallel for num_threads(be->threads)
    for (int64_t chunk = 0; chunk < CHUNKS; chunk++) {
        const int64_t begin = chunk * size < n ? chunk * size : n, end = n - begin < size ? n : begin + size;
        double s = 0;
#pragma omp simd reduction(+ : s)
        for (int64_t i = begin; i < end; i++)
            s += (double)at[i] * (double)at[i];
        part[chunk] = s;
    }
    double total = 0;
    for (int chunk = 0; chunk < CHUNKS; chunk++)
        total += part[chunk];
    *(double *)sum.data += total;
}
