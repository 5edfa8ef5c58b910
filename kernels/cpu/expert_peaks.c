/* The largest number that each expert puts out. */
#include <math.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/real.h"
#include "kernels/cpu/rows.h"

/* NaN counts as infinity: it must not pass for a small number. */
static real largest(const real *x, int64_t n)
{
    real most = 0;
    for (int64_t i = 0; i < n; i++) {
        const real size = x[i] < 0 ? -x[i] : x[i];
        if (!(size <= most))
            most = size == size ? size : (real)INFINITY;
    }
    return most;
}

/* Every expert has one owner. */
void beam_cpu_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                           const beam_route *route, beam_rows_of rows)
{
    const int64_t experts = peak.dim[0], D = rows_out.dim[1], K = route->expert.dim[1];
    const uint8_t *is_counted = counted.data;
    double *most = peak.data;
#pragma omp parallel for num_threads(be->threads) schedule(dynamic, 1)
    for (int64_t e = 0; e < experts; e++) {
        int64_t begin, end;
        beam_expert_rows(route, e, rows, &begin, &end);
        for (int64_t r = begin; r < end; r++) {
            if (!is_counted[beam_i32(route->pair)[r] / K])
                continue;
            const double size = (double)largest(beam_real(rows_out) + r * D, D);
            most[e] = size > most[e] ? size : most[e];
        }
    }
}
