/* RMSNorm. A warp takes a row. */
#include "kernels/cuda/reduce.cuh"

constexpr int warps = threads_per_block / 32;

template <class T>
static __global__ void rmsnorm_kernel(T *y, float *inverse, const T *x, const T *weight, int64_t rows,
                                      int64_t n, float epsilon, bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        const T *from = x + r * n;
        T *to = y + r * n;
        float sum = 0;
        cover<vector_of<T>>(n, aligned, lane, 32, [=, &sum](int64_t i, auto w) {
            const pack<float, w> v = load<w>(from + i);
            for (int j = 0; j < w; j++)
                sum += v.at[j] * v.at[j];
        });
        const float scale = 1 / sqrtf(warp_sum(sum) / static_cast<float>(n) + epsilon);
        if (lane == 0)
            inverse[r] = scale;
        cover<vector_of<T>>(n, aligned, lane, 32, [=](int64_t i, auto w) {
            pack<float, w> v = load<w>(from + i);
            const pack<float, w> by = load<w>(weight + i);
            for (int j = 0; j < w; j++)
                v.at[j] *= scale * by.at[j];
            store(to + i, v);
        });
    }
}

/* dx = beta * dx + inverse * (dy * w - x * inverse^2 * mean(dy * w * x)). dx may be dy. */
template <class T>
static __global__ void rmsnorm_grad_kernel(T *dx, const T *dy, const T *x, const T *weight,
                                           const float *inverse, int64_t rows, int64_t n, float beta,
                                           bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        const int64_t row = r * n;
        float sum = 0;
        cover<vector_of<T>>(n, aligned, lane, 32, [=, &sum](int64_t i, auto w) {
            const pack<float, w> d = load<w>(dy + row + i), v = load<w>(x + row + i),
                                 by = load<w>(weight + i);
            for (int j = 0; j < w; j++)
                sum += d.at[j] * by.at[j] * v.at[j];
        });
        const float scale = inverse[r], along = scale * scale * warp_sum(sum) / static_cast<float>(n);
        cover<vector_of<T>>(n, aligned, lane, 32, [=](int64_t i, auto w) {
            const pack<float, w> d = load<w>(dy + row + i), v = load<w>(x + row + i),
                                 by = load<w>(weight + i);
            pack<float, w> out = {};
            if (beta != 0) /* else dx may hold anything, even NaN */
                out = load<w>(dx + row + i);
            for (int j = 0; j < w; j++)
                out.at[j] =
                    (beta != 0 ? beta * out.at[j] : 0) + scale * (d.at[j] * by.at[j] - v.at[j] * along);
            store(dx + row + i, out);
        });
    }
}

template <class T> struct weight_grad {
    const T *dy, *x;
    const float *inverse;
    int64_t n;

    __device__ float operator()(int64_t row, int64_t column) const
    {
        return to_float(dy[row * n + column]) * inverse[row] * to_float(x[row * n + column]);
    }
};

void beam_cuda_rmsnorm(beam_backend *be, beam_tensor y, beam_tensor inverse, beam_tensor x,
                       beam_tensor weight, double epsilon)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t n = weight.dim[0], rows = beam_count(inverse);
        launch(be, rmsnorm_kernel<T>, grid_of(rows, warps), threads_per_block, 0, data_of<T>(y),
               data_of<float>(inverse), data_of<T>(x), data_of<T>(weight), rows, n, epsilon,
               is_aligned<T>(n, y.data, x.data, weight.data));
    });
}

void beam_cuda_rmsnorm_grad(beam_backend *be, beam_tensor dx, beam_tensor dweight, beam_tensor dy,
                            beam_tensor x, beam_tensor weight, beam_tensor inverse, double beta)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t n = weight.dim[0], rows = beam_count(inverse);
        if (dweight.data) /* first: dx may be dy */
            add_column_sums(be, data_of<float>(dweight), rows, n,
                            weight_grad<T>{data_of<T>(dy), data_of<T>(x), data_of<float>(inverse), n});
        launch(be, rmsnorm_grad_kernel<T>, grid_of(rows, warps), threads_per_block, 0, data_of<T>(dx),
               data_of<T>(dy), data_of<T>(x), data_of<T>(weight), data_of<float>(inverse), rows, n, beta,
               is_aligned<T>(n, dx.data, dy.data, x.data, weight.data));
    });
}
