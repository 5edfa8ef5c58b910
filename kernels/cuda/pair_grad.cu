/* What a pair's output is worth, and its way back through the activation: both read the same numbers. */
#include "kernels/cuda/gated_groups.cuh"
#include "kernels/cuda/math.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"

constexpr int warps = threads_per_block / 32;

/* beam_pair_grads on the device; NULL where absent. */
template <class T> struct pair_results {
    const float *weight;
    T *dgate_up, *act;
};

/* A warp takes a row. dgate_up may be gate_up: every element is read by the thread that then writes it. */
template <class T>
static __global__ void pair_grad_kernel(float *dot, pair_results<T> out, const T *dact, const T *gate_up,
                                        int64_t rows, int64_t n, row_filter filter, bool aligned)
{
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int64_t r = grid_thread() / 32; r < rows; r += grid_threads() / 32) {
        if (!filter.has(r))
            continue;
        const float weight = out.weight ? out.weight[r] : 0;
        float sum = 0;
        cover_groups<T>(n, aligned, lane, 32, [=, &sum](int64_t i, int64_t at, int64_t up, auto w) {
            const int64_t gate = 2 * r * n + at;
            pack<float, w> g = load<w>(gate_up + gate), u = load<w>(gate_up + gate + up);
            pack<float, w> d = load<w>(dact + r * n + i);
            for (int j = 0; j < w; j++) {
                const float x = g.at[j], s = sigmoid(x), a = x * s * u.at[j], scaled = weight * d.at[j];
                sum += d.at[j] * a;
                g.at[j] = scaled * u.at[j] * s * (1 + x * (1 - s));
                u.at[j] = scaled * x * s;
                d.at[j] = weight * a;
            }
            if (out.dgate_up) {
                store(out.dgate_up + gate, g);
                store(out.dgate_up + gate + up, u);
            }
            if (out.act)
                store(out.act + r * n + i, d);
        });
        sum = warp_sum(sum);
        if (lane == 0)
            dot[r] = sum;
    }
}

template <class T> static pair_results<T> results_of(const beam_pair_grads *out)
{
    if (!out)
        return {nullptr, nullptr, nullptr};
    return {data_of<float>(out->weight), data_of<T>(out->dgate_up), data_of<T>(out->act)};
}

void beam_cuda_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                         beam_tensor gate_up, const beam_route *route, beam_rows_of rows)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const pair_results<T> results = results_of<T>(out);
        launch(be, pair_grad_kernel<T>, grid_of(dact.dim[0], warps), threads_per_block, 0,
               data_of<float>(dot), results, data_of<T>(dact), data_of<T>(gate_up), dact.dim[0], dact.dim[1],
               rows_of(route, rows),
               is_aligned<T>(dact.dim[1], results.dgate_up, results.act, dact.data, gate_up.data));
    });
}
