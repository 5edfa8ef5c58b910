/* Rows added through a sigmoid gate of one number each: a shared expert. */
#include "kernels/cpu/axpy.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

void beam_cpu_add_gated(beam_backend *be, beam_tensor y, beam_tensor x, beam_tensor score)
{
    const int64_t tokens = x.dim[0], D = x.dim[1];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        beam_axpy(beam_real(y) + t * D, beam_real(x) + t * D, beam_sigmoid(beam_real(score)[t]), D);
}

void beam_cpu_add_gated_grad(beam_backend *be, beam_tensor dx, beam_tensor dscore, beam_tensor dy,
                             beam_tensor x, beam_tensor score)
{
    const int64_t tokens = x.dim[0], D = x.dim[1];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        const real s = beam_sigmoid(beam_real(score)[t]), *d = beam_real(dy) + t * D;
        real *out = beam_real(dx) + t * D; /* may be d */
        beam_real(dscore)[t] = beam_dot(d, beam_real(x) + t * D, D) * s * (1 - s);
#pragma omp simd
        for (int64_t i = 0; i < D; i++)
            out[i] = s * d[i];
    }
}
