/* What dropped experts give back: a trainable vector per expert in place of its output. */
#include "kernels/cpu/axpy.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"

enum { WIDE = 256 }; /* columns of dvector that a thread takes at a time */

/* How the vector of a pair's expert weighs: (1 - m) g, or (1 - q) g in the soft form. Exactly 0 for a kept
 * pair, which then adds nothing, not even 0 times the vector: -0 in y stays -0. */
static real given_weight(const beam_route *route, int64_t pair, beam_mask_form form)
{
    const real g = beam_real(route->weight)[pair];
    if (form == BEAM_MASK_SOFT)
        return g * (1 - beam_real(route->gate)[pair]);
    return ((const uint8_t *)route->keep.data)[pair] ? 0 : g;
}

void beam_cpu_give_back(beam_backend *be, beam_tensor y, beam_tensor given, const beam_route *route,
                        beam_mask_form form)
{
    const int64_t tokens = y.dim[0], D = y.dim[1], K = route->expert.dim[1];
    const int32_t *expert = beam_i32(route->expert);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = t * K; r < (t + 1) * K; r++) {
            const real w = given_weight(route, r, form);
            if (w != 0)
                beam_axpy(beam_real(y) + t * D, beam_real(given) + expert[r] * D, w, D);
        }
}

/* dvector[e, first .. first + n) += the sum over rows [begin, end) of the grouped order, in that order. */
static void vector_grad(real *dvector, beam_tensor dy, int64_t first, int64_t n, const beam_route *route,
                        int64_t begin, int64_t end, beam_mask_form form)
{
    const int64_t D = dy.dim[1], K = route->expert.dim[1];
    double sum[WIDE] = {0};
    for (int64_t row = begin; row < end; row++) {
        const int64_t pair = beam_i32(route->pair)[row];
        const double w = (double)given_weight(route, pair, form);
        const real *d = beam_real(dy) + pair / K * D + first;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            sum[i] += w * (double)d[i];
    }
    for (int64_t i = 0; i < n; i++)
        dvector[i] += (real)sum[i];
}

/* Every piece of dvector has one owner. */
static void vector_grads(beam_backend *be, beam_tensor dvector, beam_tensor dy, const beam_route *route,
                         beam_mask_form form)
{
    const int64_t E = dvector.dim[0], D = dvector.dim[1], parts = (D + WIDE - 1) / WIDE;
    const beam_rows_of rows = form == BEAM_MASK_SOFT ? BEAM_ROWS_ALL : BEAM_ROWS_DROPPED;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads)
    for (int64_t piece = 0; piece < E * parts; piece++) {
        const int64_t e = piece / parts, first = piece % parts * WIDE;
        int64_t begin, end;
        beam_expert_rows(route, e, rows, &begin, &end);
        if (end > begin)
            vector_grad(beam_real(dvector) + e * D + first, dy, first, D - first < WIDE ? D - first : WIDE,
                        route, begin, end, form);
    }
}

void beam_cpu_give_back_grad(beam_backend *be, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                             beam_tensor given, const beam_route *route, beam_mask_form form)
{
    const int64_t tokens = dy.dim[0], D = dy.dim[1], K = route->expert.dim[1];
    const int32_t *expert = beam_i32(route->expert);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = t * K; r < (t + 1) * K; r++)
            beam_real(dgiven)[r] = beam_dot(beam_real(dy) + t * D, beam_real(given) + expert[r] * D, D);
    if (dvector.data)
        vector_grads(be, dvector, dy, route, form);
}
