/* Pairs of (token, candidate) grouped by expert, and the moves between tokens and grouped rows. */
#include <string.h>

#include "kernels/cpu/axpy.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/real.h"

/* first[e] = number of pairs of all experts before e. */
static void count_pairs(int32_t *first, const int32_t *expert, int64_t pairs, int64_t experts)
{
    memset(first, 0, (size_t)(experts + 1) * sizeof *first);
    for (int64_t r = 0; r < pairs; r++)
        if (expert[r] < experts)
            first[expert[r] + 1]++;
    for (int64_t e = 0; e < experts; e++)
        first[e + 1] += first[e];
}

/* Gives the kept pairs (or the dropped ones) the next free rows of their experts, in order of tokens. used[e]
 * counts the rows of e that are taken. */
static void place_pairs(const beam_route *route, int32_t *used, bool kept)
{
    const int64_t pairs = beam_count(route->expert), experts = route->kept.dim[0];
    const int32_t *expert = beam_i32(route->expert), *first = beam_i32(route->first);
    const uint8_t *keep = route->keep.data;
    int32_t *row = route->row.data, *pair = route->pair.data;
    for (int64_t r = 0; r < pairs; r++) {
        if ((keep[r] != 0) != kept || expert[r] >= experts)
            continue;
        row[r] = first[expert[r]] + used[expert[r]]++;
        pair[row[r]] = (int32_t)r;
    }
}

/* The pairs of null experts, behind all groups. */
static void place_nulls(const beam_route *route)
{
    const int64_t pairs = beam_count(route->expert), experts = route->kept.dim[0];
    int32_t *row = route->row.data, *pair = route->pair.data, next = beam_i32(route->first)[experts];
    for (int64_t r = 0; r < pairs; r++) {
        if (beam_i32(route->expert)[r] < experts)
            continue;
        row[r] = next++;
        pair[row[r]] = (int32_t)r;
    }
}

/* A counting sort. It runs on one thread: a few passes over T*K small integers are nothing beside the
 * experts, and the order of tokens comes for free. */
void beam_cpu_route_plan(beam_backend *be, const beam_route *route)
{
    const int64_t experts = route->kept.dim[0], pairs = beam_count(route->expert);
    const int32_t *expert = beam_i32(route->expert);
    const uint8_t *keep = route->keep.data;
    int32_t *kept = route->kept.data;
    (void)be;
    count_pairs(route->first.data, expert, pairs, experts);
    memset(kept, 0, (size_t)experts * sizeof *kept);
    place_pairs(route, kept, true);
    place_pairs(route, kept, false);
    place_nulls(route);
    memset(kept, 0, (size_t)experts * sizeof *kept);
    for (int64_t r = 0; r < pairs; r++)
        if (keep[r])
            kept[expert[r]]++;
}

static bool in_rows(const beam_route *route, int64_t pair, beam_rows_of rows)
{
    const bool kept = ((const uint8_t *)route->keep.data)[pair] != 0;
    return rows == BEAM_ROWS_ALL || kept == (rows == BEAM_ROWS_KEPT);
}

void beam_cpu_route_gather(beam_backend *be, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                           beam_rows_of rows)
{
    const int64_t tokens = x.dim[0], D = x.dim[1], K = route->expert.dim[1];
    const int32_t *row = beam_i32(route->row);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = t * K; r < (t + 1) * K; r++)
            if (in_rows(route, r, rows))
                memcpy(beam_real(rows_x) + row[r] * D, beam_real(x) + t * D, (size_t)D * sizeof(real));
}

void beam_cpu_route_gather_grad(beam_backend *be, beam_tensor dx, beam_tensor drows, const beam_route *route,
                                beam_rows_of rows)
{
    const int64_t tokens = dx.dim[0], D = dx.dim[1], K = route->expert.dim[1];
    const int32_t *row = beam_i32(route->row);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t r = t * K; r < (t + 1) * K; r++)
            if (in_rows(route, r, rows))
                beam_axpy(beam_real(dx) + t * D, beam_real(drows) + row[r] * D, 1, D);
}

/* Whether a pair runs in this form, and how its output weighs. */
static bool pair_weight(real *w, const beam_route *route, int64_t pair, beam_mask_form form)
{
    const real g = beam_real(route->weight)[pair];
    *w = form == BEAM_MASK_SOFT ? g * beam_real(route->gate)[pair] : g;
    return form == BEAM_MASK_SOFT || in_rows(route, pair, BEAM_ROWS_KEPT);
}

void beam_cpu_route_combine(beam_backend *be, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                            beam_mask_form form)
{
    const int64_t tokens = y.dim[0], D = y.dim[1], K = route->expert.dim[1];
    const int32_t *row = beam_i32(route->row);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t t = 0; t < tokens; t++) {
        real *sum = beam_real(y) + t * D, w;
        memset(sum, 0, (size_t)D * sizeof(real));
        for (int64_t r = t * K; r < (t + 1) * K; r++)
            if (pair_weight(&w, route, r, form))
                beam_axpy(sum, beam_real(rows_y) + row[r] * D, w, D);
    }
}

void beam_cpu_route_weights(beam_backend *be, beam_tensor rows, const beam_route *route, beam_mask_form form)
{
    const int64_t pairs = beam_count(route->expert), experts = route->kept.dim[0];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t r = 0; r < pairs; r++) {
        real w;
        const bool runs = pair_weight(&w, route, r, form) && beam_i32(route->expert)[r] < experts;
        beam_real(rows)[beam_i32(route->row)[r]] = runs ? w : 0;
    }
}

void beam_cpu_route_pairs(beam_backend *be, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                          beam_rows_of rows)
{
    const int64_t n = beam_count(route->expert), experts = route->kept.dim[0];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t r = 0; r < n; r++)
        if (in_rows(route, r, rows) && beam_i32(route->expert)[r] < experts)
            beam_real(pairs)[r] = beam_real(numbers)[beam_i32(route->row)[r]];
}
