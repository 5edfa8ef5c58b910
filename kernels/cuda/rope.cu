/* Rotary position embedding (Su et al. 2021, arXiv:2104.09864), pairs (i, i + R/2) of the last R numbers of a
 * head. A thread takes a pair. */
#include "kernels/cuda/device.cuh"

template <class T>
static __global__ void rope_kernel(T *x, const float *cosine, const float *sine, const int32_t *position,
                                   int64_t tokens, int64_t heads, int64_t width, int64_t half,
                                   int64_t positions, float sign)
{
    const int64_t n = tokens * heads * half;
    for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
        const int64_t pair = i % half, row = i / half, p = position[row / heads];
        if (p < 0 || p >= positions)
            __trap();
        T *a = x + (row + 1) * width - 2 * half + pair, *b = a + half;
        const float c = cosine[p * half + pair], s = sign * sine[p * half + pair];
        const float u = to_float(*a), v = to_float(*b);
        *a = from_float<T>(u * c - v * s);
        *b = from_float<T>(v * c + u * s);
    }
}

void beam_cuda_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                    beam_tensor position, bool inverse)
{
    with_type(be->real, [&](auto element) {
        using T = decltype(element);
        const int64_t half = cosine.dim[1];
        launch(be, rope_kernel<T>, grid_of(x.dim[0] * x.dim[1] * half, threads_per_block), threads_per_block,
               0, data_of<T>(x), data_of<float>(cosine), data_of<float>(sine), data_of<int32_t>(position),
               x.dim[0], x.dim[1], x.dim[2], half, cosine.dim[0], inverse ? -1.0f : 1.0f);
    });
}
