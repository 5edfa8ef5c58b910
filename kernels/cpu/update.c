/* The optimizer's step and the sum of squares for clipping. */
#include "kernels/cpu/cpu.h"

/* Sums of squares of a row are taken in pieces, however many rows and threads there are. */
enum { PIECES = 64, ROWS_AT_ONCE = BEAM_CPU_SCRATCH / (PIECES * (int)sizeof(double)) };

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

static double piece_squares(const real *row, int64_t n, int64_t piece)
{
    const int64_t size = (n / PIECES + 16) / 16 * 16;
    const int64_t begin = piece * size < n ? piece * size : n, end = n - begin < size ? n : begin + size;
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int64_t i = begin; i < end; i++)
        s += (double)row[i] * (double)row[i];
    return s;
}

void beam_cpu_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    const int64_t n = x.dim[1];
    double *part = beam_cpu_scratch(be);
    for (int64_t first = 0; first < x.dim[0]; first += ROWS_AT_ONCE) {
        const int64_t rows = x.dim[0] - first < ROWS_AT_ONCE ? x.dim[0] - first : ROWS_AT_ONCE;
        const real *at = beam_real(x) + first * n;
        double *total = (double *)sum.data + first;
#pragma omp parallel for collapse(2) num_threads(be->threads)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t piece = 0; piece < PIECES; piece++)
                part[row * PIECES + piece] = piece_squares(at + row * n, n, piece);
        for (int64_t row = 0; row < rows; row++)
            for (int piece = 0; piece < PIECES; piece++)
                total[row] += part[row * PIECES + piece];
    }
}
