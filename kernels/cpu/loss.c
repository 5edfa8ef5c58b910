/* Losses of the next token, and their gradient in the place of the logits: cross entropy, and distillation.
 */
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

/* Returns the sum of exp(x - largest x). */
static double loss_row(real *x, int64_t n, int64_t target, real *loss, uint8_t *correct, double grad_scale,
                       bool want_grad)
{
    const real top = largest(x, n), at_target = x[target];
    *correct = first_of(x, target, top);
    const double sum = want_grad ? sum_of_exp_in_place(x, n, top) : sum_of_exp(x, n, top);
    *loss = (real)(log(sum) - ((double)at_target - (double)top));
    if (!want_grad)
        return sum;
    const real scale = (real)(grad_scale / sum);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] *= scale;
    x[target] -= (real)grad_scale;
    return sum;
}

static void ignore_row(real *x, int64_t n, real *loss, uint8_t *correct, bool want_grad)
{
    *loss = 0;
    *correct = 0;
    if (want_grad)
        memset(x, 0, (size_t)n * sizeof *x);
}

void beam_cpu_cross_entropy(beam_backend *be, beam_tensor logits, beam_tensor target, beam_tensor loss,
                            beam_tensor correct, double grad_scale, bool want_grad)
{
    const int64_t tokens = logits.dim[0], n = logits.dim[1];
#pragma omp parallel for schedule(dynamic) num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t id = beam_i32(target)[t];
        real *x = beam_real(logits) + t * n, *nats = beam_real(loss) + t;
        uint8_t *hit = (uint8_t *)correct.data + t;
        BEAM_ASSERT(id >= -1 && id < n);
        if (id >= 0)
            loss_row(x, n, id, nats, hit, grad_scale, want_grad);
        else
            ignore_row(x, n, nats, hit, want_grad);
    }
}

/* The exponentials of one softmax: exp((x - top) * sharpness), and their sum. */
typedef struct {
    real top, sharpness;
    double sum;
} soft_row;

static real exponential(soft_row s, real x)
{
    return beam_exp((x - s.top) * s.sharpness);
}

/* KL(softmax(y / tau) || softmax(x / tau)) where both rows' sharpness is 1 / tau; fills their sums. The
 * logits' differences are taken in double: equal rows give exactly 0. What has no probability in y adds
 * nothing. */
static double divergence_of(const real *x, soft_row *student, const real *y, soft_row *teacher, int64_t n)
{
    const double shift = (double)student->top - (double)teacher->top;
    double x_sum = 0, y_sum = 0, apart = 0;
#pragma omp simd reduction(+ : x_sum, y_sum, apart)
    for (int64_t i = 0; i < n; i++) {
        const double e = (double)exponential(*teacher, y[i]);
        x_sum += (double)exponential(*student, x[i]);
        y_sum += e;
        apart += e == 0 ? 0 : e * ((double)y[i] - (double)x[i] + shift);
    }
    student->sum = x_sum;
    teacher->sum = y_sum;
    const double kl = (double)teacher->sharpness * apart / y_sum + log(x_sum) - log(y_sum);
    return kl < 0 ? 0 : kl; /* the rounding of a value near 0 */
}

/* x becomes hard * softmax(x) + soft * (softmax(x / tau) - softmax(y / tau)). */
static void mixed_grad(real *x, soft_row own, double hard, soft_row student, const real *y, soft_row teacher,
                       double soft, int64_t n)
{
    const real a = (real)(hard / own.sum), b = (real)(soft / student.sum), c = (real)(soft / teacher.sum);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] = a * exponential(own, x[i]) + (b * exponential(student, x[i]) - c * exponential(teacher, y[i]));
}

static void distill_row(real *x, const real *y, int64_t n, int64_t target, real *loss, real *divergence,
                        uint8_t *correct, const beam_distill_args *args)
{
    const double tau = args->temperature, hard = args->grad_scale * (1 - args->weight);
    const real sharpness = (real)(1 / tau);
    soft_row own = {.top = largest(x, n), .sharpness = 1}, student = {.top = own.top, .sharpness = sharpness};
    soft_row teacher = {.top = largest(y, n), .sharpness = sharpness};
    *divergence = (real)(tau * tau * divergence_of(x, &student, y, &teacher, n));
    const bool mixed = args->want_grad && args->weight != 0;
    own.sum = loss_row(x, n, target, loss, correct, args->grad_scale, args->want_grad && !mixed);
    if (!mixed)
        return;
    mixed_grad(x, own, hard, student, y, teacher, args->grad_scale * args->weight * tau, n);
    x[target] -= (real)hard;
}

void beam_cpu_distill(beam_backend *be, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                      beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                      const beam_distill_args *args)
{
    const int64_t tokens = logits.dim[0], n = logits.dim[1];
#pragma omp parallel for schedule(dynamic) num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t id = beam_i32(target)[t];
        real *x = beam_real(logits) + t * n, *nats = beam_real(loss) + t, *kl = beam_real(divergence) + t;
        uint8_t *hit = (uint8_t *)correct.data + t;
        BEAM_ASSERT(id >= -1 && id < n);
        *kl = 0;
        if (id >= 0)
            distill_row(x, beam_real(teacher) + t * n, n, id, nats, kl, hit, args);
        else
            ignore_row(x, n, nats, hit, args->want_grad);
    }
}
