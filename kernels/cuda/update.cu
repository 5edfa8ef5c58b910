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

constexpr int sum_chunks = 256; /* partial sums of squares */

/* A block takes a chunk. */
static __global__ void sum_squares_partials(double *partial, const float *x, int64_t n)
{
    BEAM_SHARED(double, part, 32);
    const int64_t size = (n + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * size;
    const int64_t end = begin + size < n ? begin + size : n;
    double sum = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
        sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sum = block_sum(sum, part);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void add_partials(double *sum, const double *partial)
{
    BEAM_SHARED(double, part, 32);
    const double all = block_sum(partial[threadIdx.x], part);
    if (threadIdx.x == 0)
        *sum += all;
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
    double *partial = static_cast<double *>(beam_cuda_scratch(be, sum_chunks * sizeof(double)));
    launch(be, sum_squares_partials, sum_chunks, threads_per_block, 0, partial, data_of<float>(x),
           beam_count(x));
    launch(be, add_partials, 1, sum_chunks, 0, data_of<double>(sum), partial);
}
