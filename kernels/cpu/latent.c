/* Keys of latent attention: each head's own numbers, then those that all heads share. */
#include <string.h>

#include "kernels/cpu/cpu.h"

void beam_cpu_latent_keys(beam_backend *be, beam_tensor k, beam_tensor own, beam_tensor shared)
{
    const int64_t tokens = k.dim[0], heads = k.dim[1], width = k.dim[2];
    const int64_t N = own.dim[2], R = shared.dim[1];
#pragma omp parallel for num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t row = t * heads; row < (t + 1) * heads; row++) {
            memcpy(beam_real(k) + row * width, beam_real(own) + row * N, (size_t)N * sizeof(real));
            memcpy(beam_real(k) + row * width + N, beam_real(shared) + t * R, (size_t)R * sizeof(real));
        }
}

void beam_cpu_latent_keys_grad(beam_backend *be, beam_tensor down, beam_tensor dshared, beam_tensor dk)
{
    const int64_t tokens = dk.dim[0], heads = dk.dim[1], width = dk.dim[2];
    const int64_t N = down.dim[2], R = dshared.dim[1];
#pragma omp parallel for num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        real *sum = beam_real(dshared) + t * R;
        memset(sum, 0, (size_t)R * sizeof(real));
        for (int64_t row = t * heads; row < (t + 1) * heads; row++) {
            const real *from = beam_real(dk) + row * width;
            memcpy(beam_real(down) + row * N, from, (size_t)N * sizeof(real));
#pragma omp simd
            for (int64_t i = 0; i < R; i++)
                sum[i] += from[N + i];
        }
    }
}
