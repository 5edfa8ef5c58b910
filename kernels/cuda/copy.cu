/* Copies, conversions and additions of whole tensors. */
#include "kernels/cuda/device.cuh"

template <class To, class From>
static __global__ void convert_kernel(To *y, const From *x, int64_t n, bool aligned)
{
    cover<4>(n, aligned, grid_thread(), grid_threads(),
             [=](int64_t i, auto w) { store(y + i, load<w>(x + i)); });
}

template <class T> static __global__ void add_kernel(T *y, const T *x, int64_t n, bool aligned)
{
    cover<vector_of<T>>(n, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
        pack<float, w> sum = load<w>(y + i);
        const pack<float, w> more = load<w>(x + i);
        for (int j = 0; j < w; j++)
            sum.at[j] += more.at[j];
        store(y + i, sum);
    });
}

template <class To, class From> static void convert(beam_backend *be, beam_tensor y, beam_tensor x)
{
    const int64_t n = beam_count(y);
    launch(be, convert_kernel<To, From>, grid_of(n, 4 * threads_per_block), threads_per_block, 0,
           data_of<To>(y), data_of<From>(x), n, is_aligned<float>(0, y.data, x.data));
}

void beam_cuda_copy(beam_backend *be, beam_tensor y, beam_tensor x)
{
    if (y.dtype == x.dtype)
        beam_cuda_move(be, y.data, x.data, beam_bytes(x));
    else if (y.dtype == BEAM_BF16)
        convert<bf16, float>(be, y, x);
    else
        convert<float, bf16>(be, y, x);
}

void beam_cuda_add(beam_backend *be, beam_tensor y, beam_tensor x)
{
    with_type(y.dtype, [&](auto element) {
        using T = decltype(element);
        const int64_t n = beam_count(y);
        launch(be, add_kernel<T>, grid_of(n, vector_of<T> * threads_per_block), threads_per_block, 0,
               data_of<T>(y), data_of<T>(x), n, is_aligned<T>(0, y.data, x.data));
    });
}
