/* Rows added through a sigmoid gate of one number each: a shared expert. A warp takes a row. */
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"

constexpr int warps = threads_per_block / 32;

template <class T>
static __global__ void add_gated_kernel(T *y, const T *x, const float *score, int64_t rows, int64_t n,
                                        bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        const float s = sigmoid(score[r]);
        const T *from = x + r * n;
        T *to = y + r * n;
        cover<vector_of<T>>(n, aligned, lane, 32, [=](int64_t i, auto w) {
            pack<float, w> sum = load<w>(to + i);
            const pack<float, w> more = load<w>(from + i);
            for (int j = 0; j < w; j++)
                sum.at[j] += s * more.at[j];
            store(to + i, sum);
        });
    }
}

/* dx may be dy: every element is read by the thread that then writes it. */
template <class T>
static __global__ void add_gated_grad_kernel(T *dx, float *dscore, const T *dy, const T *x,
                                             const float *score, int64_t rows, int64_t n, bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        const float s = sigmoid(score[r]);
        float dot = 0;
        cover<vector_of<T>>(n, aligned, lane, 32, [=, &dot](int64_t i, auto w) {
            pack<float, w> d = load<w>(dy + r * n + i);
            const pack<float, w> v = load<w>(x + r * n + i);
            for (int j = 0; j < w; j++) {
                dot += d.at[j] * v.at[j];
                d.at[j] *= s;
            }
            store(dx + r * n + i, d);
        });
        dot = warp_sum(dot);
        if (lane == 0)
            dscore[r] = dot * s * (1 - s);
    }
}

void beam_cuda_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, add_gated_kernel<T>, grid_of(x.dim[0], warps), threads_per_block, 0, data_of<T>(y),
               data_of<T>(x), data_of<float>(score), x.dim[0], x.dim[1],
               is_aligned<T>(x.dim[1], y.data, x.data));
    });
}

void beam_cuda_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy,
                              beam_tensor x, beam_tensor score)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, add_gated_grad_kernel<T>, grid_of(x.dim[0], warps), threads_per_block, 0, data_of<T>(dx),
               data_of<float>(dscore), data_of<T>(dy), data_of<T>(x), data_of<float>(score), x.dim[0],
               x.dim[1], is_aligned<T>(x.dim[1], dx.data, dy.data, x.data));
    });
}
