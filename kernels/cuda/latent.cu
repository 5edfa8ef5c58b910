/* Keys of latent attention: each head's own numbers, then those that all heads share. */
#include "kernels/cuda/device.cuh"

template <class T>
static __global__ void latent_keys_kernel(T *k, const T *own, const T *shared, int64_t tokens, int64_t heads,
                                          int64_t own_width, int64_t shared_width, bool aligned)
{
    const int64_t width = own_width + shared_width;
    cover<vector_of<T>>(
        tokens * heads * width, aligned, grid_thread(), grid_threads(), [=](int64_t i, auto w) {
            const int64_t row = i / width, n = i % width;
            const T *from = n < own_width ? own + row * own_width + n
                                          : shared + row / heads * shared_width + n - own_width;
            store(k + i, load<w>(from));
        });
}

/* Takes the heads' own numbers apart, and adds up what they share, in the order of heads. */
template <class T>
static __global__ void latent_keys_grad_kernel(T *down, T *dshared, const T *dk, int64_t tokens,
                                               int64_t heads, int64_t own_width, int64_t shared_width,
                                               bool aligned)
{
    const int64_t width = own_width + shared_width;
    cover<vector_of<T>>(
        tokens * heads * own_width, aligned, grid_thread(), grid_threads(),
        [=](int64_t i, auto w) { store(down + i, load<w>(dk + i / own_width * width + i % own_width)); });
    cover<vector_of<T>>(tokens * shared_width, aligned, grid_thread(), grid_threads(),
                        [=](int64_t i, auto w) {
                            const int64_t token = i / shared_width, n = i % shared_width;
                            pack<float, w> sum = {};
                            for (int64_t row = token * heads; row < (token + 1) * heads; row++) {
                                const pack<float, w> x = load<w>(dk + row * width + own_width + n);
                                for (int j = 0; j < w; j++)
                                    sum.at[j] += x.at[j];
                            }
                            store(dshared + i, sum);
                        });
}

void beam_cuda_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t N = own.dim[2], R = shared.dim[1];
        const bool aligned = N % vector_of<T> == 0 && is_aligned<T>(R, k.data, own.data, shared.data);
        launch(be, latent_keys_kernel<T>, grid_of(beam_count(k), 4 * threads_per_block), threads_per_block, 0,
               data_of<T>(k), data_of<T>(own), data_of<T>(shared), k.dim[0], k.dim[1], N, R, aligned);
    });
}

void beam_cuda_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t N = down.dim[2], R = dshared.dim[1];
        const bool aligned = N % vector_of<T> == 0 && is_aligned<T>(R, down.data, dshared.data, dk.data);
        launch(be, latent_keys_grad_kernel<T>, grid_of(beam_count(down), 4 * threads_per_block),
               threads_per_block, 0, data_of<T>(down), data_of<T>(dshared), data_of<T>(dk), dk.dim[0],
               dk.dim[1], N, R, aligned);
    });
}
