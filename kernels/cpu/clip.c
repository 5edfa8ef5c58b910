/* Values limited to [-limit, limit]. */
#include "kernels/cpu/cpu.h"

void beam_cpu_clip(beam_backend *be, beam_tensor x, double limit)
{
    const int64_t n = beam_count(x);
    const real high = (real)limit;
    real *v = beam_real(x);
#pragma omp parallel for simd num_threads(be->threads)
    for (int64_t i = 0; i < n; i++)
        v[i] = v[i] > high ? high : v[i] < -high ? -high : v[i];
}

void beam_cpu_clip_grad(beam_backend *be, beam_tensor dx, beam_tensor x, double limit)
{
    const int64_t n = beam_count(x);
    const real high = (real)limit;
    const real *v = beam_real(x);
    real *d = beam_real(dx);
#pragma omp parallel for simd num_threads(be->threads)
    for (int64_t i = 0; i < n; i++)
        d[i] = v[i] >= high || v[i] <= -high ? 0 : d[i];
}
