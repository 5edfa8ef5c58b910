/* The largest number that each expert puts out, as a formula. */
#include <math.h>

#include "ops/reference.h"

void reference_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                            const beam_route *route, beam_rows_of rows)
{
    (void)be;
    const int64_t D = rows_out.dim[1], K = route->expert.dim[1];
    for (int64_t r = 0; r < rows_out.dim[0]; r++) {
        const int32_t pair = reference_i32(route->pair)[r];
        if (!reference_u8(counted)[pair / K] || !reference_in_rows(route, r, rows))
            continue;
        double *most = &reference_f64(peak)[reference_i32(route->expert)[pair]];
        for (int64_t j = 0; j < D; j++) {
            const double x = reference_f64(rows_out)[r * D + j];
            *most = isnan(x) ? INFINITY : fmax(*most, fabs(x));
        }
    }
}
