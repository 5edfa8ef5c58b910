/* Give-back, as formulas. */
#include "ops/reference.h"

/* How the vector of pair i's expert weighs. */
static double weight(const beam_route *route, int64_t i, beam_mask_form form)
{
    const double m = form == BEAM_MASK_SOFT ? reference_f64(route->gate)[i] : reference_u8(route->keep)[i];
    return (1 - m) * reference_f64(route->weight)[i];
}

void reference_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                         beam_mask_form form)
{
    (void)be;
    const int64_t D = y.dim[1], K = route->expert.dim[1];
    for (int64_t i = 0; i < beam_count(route->expert); i++)
        for (int64_t j = 0; j < D; j++)
            reference_f64(y)[i / K * D + j] +=
                weight(route, i, form) * reference_f64(given)[reference_i32(route->expert)[i] * D + j];
}

void reference_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                              beam_tensor given, const beam_route *route, beam_mask_form form)
{
    (void)be;
    const int64_t D = dy.dim[1], K = route->expert.dim[1];
    for (int64_t i = 0; i < beam_count(route->expert); i++) {
        const int64_t e = reference_i32(route->expert)[i];
        const double *d = reference_f64(dy) + i / K * D;
        double sum = 0;
        for (int64_t j = 0; j < D; j++) {
            sum += d[j] * reference_f64(given)[e * D + j];
            if (dvector.data)
                reference_f64(dvector)[e * D + j] += weight(route, i, form) * d[j];
        }
        reference_f64(dgiven)[i] = sum;
    }
}
