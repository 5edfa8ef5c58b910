/* Cross entropy of the next token, and its gradient in the place of the logits. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

static real largest(const real *x, int64_t n)
{
    real top = x[0];
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

static double sum_of_exp(const real *x, int64_t n, real top)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)beam_exp(x[i] - top);
    return sum;
}

/* The same, and x becomes its exponential. */
static double sum_of_exp_in_place(real *x, int64_t n, real top)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        x[i] = beam_exp(x[i] - top);
        sum += (double)x[i];
    }
    return sum;
}

static bool first_of(const real *x, int64_t target, real top)
{
    if (!(x[target] >= top))
        return false;
    for (int64_t i = 0; i < target; i++)
        if (x[i] >= top)
            return false;
    return true;
}

static void loss_row(real *x, int64_t n, int64_t target, real *loss, uint8_t *correct, double grad_scale,
                     bool want_grad)
{
    const real top = largest(x, n), at_target = x[target];
    *correct = first_of(x, target, top);
    const double sum = want_grad ? sum_of_exp_in_place(x, n, top) : sum_of_exp(x, n, top);
    *loss = (real)(log(sum) - ((double)at_target - (double)top));
    if (!want_grad)
        return;
    const real scale = (real)(grad_scale / sum);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] *= scale;
    x[target] -= (real)grad_scale;
}

void beam_cpu_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                            beam_tensor correct, double grad_scale, bool want_grad)
{
    const int64_t tokens = logits.dim[0], n = logits.dim[1];
#pragma omp parallel for schedule(dynamic) num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t id = beam_i32(target)[t];
        real *x = beam_real(logits) + t * n;
        uint8_t *hit = (uint8_t *)correct.data + t;
        BEAM_ASSERT(id >= -1 && id < n);
        if (id >= 0) {
            loss_row(x, n, id, beam_real(loss) + t, hit, grad_scale, want_grad);
            continue;
        }
        beam_real(loss)[t] = 0;
        *hit = 0;
        if (want_grad)
            memset(x, 0, (size_t)n * sizeof *x);
    }
}
