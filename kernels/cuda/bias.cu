/* A vector added to every row. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/reduce.cuh"

template <class T>
static __global__ void add_bias_kernel(T *y, const T *bias, int64_t n, int64_t columns, bool aligned)
{
    cover<vector_of<T>>(n, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
        pack<float, w> sum = load<w>(y + i);
        const pack<float, w> more = load<w>(bias + i % columns);
        for (int j = 0; j < w; j++)
            sum.at[j] += more.at[j];
        store(y + i, sum);
    });
}

template <class T> struct element_of {
    const T *x;
    int64_t columns;

    __device__ float operator()(int64_t row, int64_t column) const
    {
        return to_float(x[row * columns + column]);
    }
};

void beam_cuda_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias)
{
    with_type(y.dtype, [&](auto element) {
        using T = decltype(element);
        const int64_t n = beam_count(y), columns = bias.dim[0];
        launch(be, add_bias_kernel<T>, grid_of(n, vector_of<T> * threads_per_block), threads_per_block, 0,
               data_of<T>(y), data_of<T>(bias), n, columns, is_aligned<T>(columns, y.data, bias.data));
    });
}

void beam_cuda_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t columns = dbias.dim[0], rows = beam_count(dy) / columns;
        add_column_sums(be, data_of<float>(dbias), rows, columns, element_of<T>{data_of<T>(dy), columns});
    });
}
