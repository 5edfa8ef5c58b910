/* The batch-union penalty. */
#include "ops/reference.h"

/* 1 - q of expert e for token t; 1 where it is no candidate or the token is not counted. */
static double factor(const beam_route *route, beam_tensor counted, int64_t t, int64_t e)
{
    const int64_t K = route->expert.dim[1];
    for (int64_t i = t * K; i < (t + 1) * K; i++)
        if (reference_u8(counted)[t] && reference_i32(route->expert)[i] == e)
            return 1 - reference_f64(route->gate)[i];
    return 1;
}

void reference_union_penalty(beam_backend *be, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                             beam_tensor counted, int64_t group, double weight)
{
    (void)be;
    const int64_t T = dgate.dim[0], K = dgate.dim[1], E = route->kept.dim[0], S = T / group;
    for (int64_t i = 0; i < S; i++) {
        bool any = false;
        for (int64_t j = 0; j < group; j++)
            any = any || reference_u8(counted)[i + j * S];
        for (int64_t e = 0; e < E; e++) {
            double untouched = 1;
            for (int64_t j = 0; j < group; j++)
                untouched *= factor(route, counted, i + j * S, e);
            reference_f64(sum)[0] += (1 - untouched) / (double)E;
        }
        reference_f64(sum)[1] += any;
    }
    for (int64_t i = 0; i < T * K; i++) {
        const int64_t t = i / K;
        double others = reference_u8(counted)[t] && t < group * S ? 1 : 0;
        for (int64_t j = 0; j < group && others != 0; j++)
            if (t % S + j * S != t)
                others *= factor(route, counted, t % S + j * S, reference_i32(route->expert)[i]);
        reference_f64(dgate)[i] = weight * others / (double)E;
    }
}
