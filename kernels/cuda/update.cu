/* The optimizer's step and the sum of squares for clipping. */
#include <math.h>

#include "kernels/cuda/reduce.cuh"

/* Constants of one step, as floats. */
struct step_rule {
    float scale, decay, step, beta1, rest1, beta2, rest2, scale2, epsilon;
};

static __global__ void adamw_kernel(float *value, const float *grad, float *m, float *v, int64_t n,
                                    step_rule rule, bool aligned)
{
    cover<4>(n, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
        pack<float, w> p = load<w>(value + i), mean = load<w>(m + i), square = load<w>(v + i);
        const pack<float, w> g = load<w>(grad + i);
        for (int j = 0; j < w; j++) {
            const float x = rule.scale * g.at[j];
            mean.at[j] = rule.beta1 * mean.at[j] + rule.rest1 * x;
            square.at[j] = rule.beta2 * square.at[j] + rule.rest2 * x * x;
            p.at[j] = rule.decay * p.at[j] -
                      rule.step * mean.at[j] / (sqrtf(square.at[j]) * rule.scale2 + rule.epsilon);
        }
        store(value + i, p);
        store(m + i, mean);
        store(v + i, square);
    });
}

/* A block takes a row of n numbers. */
static __global__ void sum_squares_kernel(double *sum, const float *x, int64_t n)
{
    BEAM_SHARED(double, part, 32);
    const float *row = x + blockIdx.x * n;
    double squares = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    squares = block_sum(squares, part);
    if (threadIdx.x == 0)
        sum[blockIdx.x] += squares;
}

void beam_cuda_adamw(beam_backend *be, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                     const beam_adamw_args *args)
{
    const double correction1 = 1 - pow(args->beta1, static_cast<double>(args->step));
    const double correction2 = 1 - pow(args->beta2, static_cast<double>(args->step));
    const step_rule rule = {
        static_cast<float>(args->grad_scale),
        static_cast<float>(1 - args->learning_rate * args->weight_decay),
        static_cast<float>(args->learning_rate / correction1),
        static_cast<float>(args->beta1),
        static_cast<float>(1 - args->beta1),
        static_cast<float>(args->beta2),
        static_cast<float>(1 - args->beta2),
        static_cast<float>(1 / sqrt(correction2)),
        static_cast<float>(args->epsilon),
    };
    const int64_t n = beam_count(value);
    launch(be, adamw_kernel, grid_of(n, 4 * threads_per_block), threads_per_block, 0, data_of<float>(value),
           data_of<float>(grad), data_of<float>(m), data_of<float>(v), n, rule,
           is_aligned<float>(0, value.data, grad.data, m.data, v.data));
}

void beam_cuda_sum_squares(beam_backend *be, beam_tensor sum, beam_tensor x)
{
    launch(be, sum_squares_kernel, static_cast<unsigned>(x.dim[0]), threads_per_block, 0,
           data_of<double>(sum), data_of<float>(x), x.dim[1]);
}
