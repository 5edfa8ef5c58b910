/* silu(gate) * up. */
#include "kernels/cuda/gated_groups.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/rows.cuh"

template <class T>
static __global__ void swiglu_kernel(T *y, const T *gate_up, int64_t rows, int64_t n, row_filter filter,
                                     bool aligned)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        if (!filter.has(r))
            continue;
        const T *from = gate_up + 2 * r * n;
        T *to = y + r * n;
        cover_groups<T>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t i, int64_t at, int64_t up, auto w) {
            pack<float, w> g = load<w>(from + at);
            const pack<float, w> u = load<w>(from + at + up);
            for (int j = 0; j < w; j++)
                g.at[j] = silu_times(g.at[j], u.at[j]);
            store(to + i, g);
        });
    }
}

template <class T>
static __global__ void swiglu_grad_kernel(T *dgate_up, const T *dy, const T *gate_up, int64_t rows, int64_t n,
                                          bool aligned)
{
    for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
        const T *from = gate_up + 2 * r * n, *d = dy + r * n;
        T *to = dgate_up + 2 * r * n;
        cover_groups<T>(n, aligned, threadIdx.x, blockDim.x, [=](int64_t i, int64_t at, int64_t up, auto w) {
            pack<float, w> g = load<w>(from + at), u = load<w>(from + at + up);
            const pack<float, w> dv = load<w>(d + i);
            for (int j = 0; j < w; j++) {
                const float x = g.at[j], s = sigmoid(x);
                g.at[j] = dv.at[j] * u.at[j] * s * (1 + x * (1 - s));
                u.at[j] = dv.at[j] * x * s;
            }
            store(to + at, g);
            store(to + at + up, u);
        });
    }
}

void beam_cuda_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                      beam_rows_of rows)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, swiglu_kernel<T>, grid_of(y.dim[0], 1), threads_per_block, 0, data_of<T>(y),
               data_of<T>(gate_up), y.dim[0], y.dim[1], rows_of(route, rows),
               is_aligned<T>(y.dim[1], y.data, gate_up.data));
    });
}

void beam_cuda_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        launch(be, swiglu_grad_kernel<T>, grid_of(dy.dim[0], 1), threads_per_block, 0, data_of<T>(dgate_up),
               data_of<T>(dy), data_of<T>(gate_up), dy.dim[0], dy.dim[1],
               is_aligned<T>(dy.dim[1], dgate_up.data, dy.data, gate_up.data));
    });
}
