/* Rotary position embedding (Su et al. 2021, arXiv:2104.09864), pairs (i, i + R/2) of the last R numbers
 * of a head. */
#include "kernels/cpu/cpu.h"

void beam_cpu_rotate(real *x, const real *cosine, const real *sine, int64_t half, real sign)
{
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        const real a = x[i], b = x[i + half], s = sign * sine[i];
        x[i] = a * cosine[i] - b * s;
        x[i + half] = b * cosine[i] + a * s;
    }
}

void beam_cpu_rope(beam_backend *be, beam_tensor x, beam_tensor cosine, beam_tensor sine,
                   beam_tensor position, bool inverse)
{
    const int64_t tokens = x.dim[0], heads = x.dim[1], width = x.dim[2], half = cosine.dim[1];
    const real sign = inverse ? -1 : 1;
#pragma omp parallel for num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        const int64_t p = beam_i32(position)[t];
        BEAM_ASSERT(p >= 0 && p < cosine.dim[0]);
        for (int64_t h = 0; h < heads; h++)
            beam_cpu_rotate(beam_real(x) + (t * heads + h + 1) * width - 2 * half,
                            beam_real(cosine) + p * half, beam_real(sine) + p * half, half, sign);
    }
}
