/* Values limited to [-limit, limit]. */
#include "core/bf16.h"
#include "kernels/cuda/device.cuh"

template <class T> static __global__ void clip_kernel(T *x, int64_t n, float high, bool aligned)
{
    cover<vector_of<T>>(n, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
        pack<float, w> v = load<w>(x + i);
        for (int j = 0; j < w; j++)
            v.at[j] = v.at[j] > high ? high : v.at[j] < -high ? -high : v.at[j];
        store(x + i, v);
    });
}

template <class T>
static __global__ void clip_grad_kernel(T *dx, const T *x, int64_t n, float high, bool aligned)
{
    cover<vector_of<T>>(n, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
        pack<float, w> d = load<w>(dx + i);
        const pack<float, w> v = load<w>(x + i);
        for (int j = 0; j < w; j++)
            d.at[j] = v.at[j] >= high || v.at[j] <= -high ? 0 : d.at[j];
        store(dx + i, d);
    });
}

/* The limit as a number of that type has it: what was clipped must be found at the limit. */
static float limit_in(beam_dtype t, double limit)
{
    return t == BEAM_BF16 ? beam_bf16_to_f32(beam_f32_to_bf16(static_cast<float>(limit)))
                          : static_cast<float>(limit);
}

void beam_cuda_clip(beam_backend *be, beam_tensor x, double limit)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t n = beam_count(x);
        launch(be, clip_kernel<T>, grid_of(n, vector_of<T> * threads_per_block), threads_per_block, 0,
               data_of<T>(x), n, limit_in(be->real, limit), is_aligned<T>(0, x.data));
    });
}

void beam_cuda_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t n = beam_count(x);
        launch(be, clip_grad_kernel<T>, grid_of(n, vector_of<T> * threads_per_block), threads_per_block, 0,
               data_of<T>(dx), data_of<T>(x), n, limit_in(be->real, limit),
               is_aligned<T>(0, dx.data, x.data));
    });
}
