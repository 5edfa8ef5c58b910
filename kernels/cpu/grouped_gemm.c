/* One product per expert, over the rows of the grouped order that belong to it. The pieces are independent,
 * so which thread takes which changes nothing. */
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"

enum {
    HIGH = 256, /* rows of a tile of c; twice as many, which is faster, when there are MANY */
    MANY = 32768,
    WIDE = 768,       /* columns of a tile of c */
    WGRAD_HIGH = 128, /* of a tile of dw: smaller, as one expert may hold most rows */
    WGRAD_WIDE = 256,
};

static void multiply(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                     beam_rows_of rows)
{
    const bool tb = p->tb;
    const int64_t n = p->c.dim[1], m = p->a.dim[1];
    const int64_t high = p->c.dim[0] < MANY ? HIGH : 2 * HIGH;
    if (n == 0)
        return;
    int64_t drawn = 0;
#pragma omp parallel num_threads(be->threads)
    {
        beam_row_tile t = {
            .route = route, .rows = rows, .height = high, .parts = (n + WIDE - 1) / WIDE, .drawn = &drawn};
        while (beam_row_tile_next(&t)) {
            const int64_t j = t.part * WIDE, width = n - j < WIDE ? n - j : WIDE;
            const real *weight = beam_real(p->b) + t.expert * n * m + (tb ? j * m : j);
            beam_blas_gemm(false, tb, t.end - t.begin, width, m, 1, beam_real(p->a) + t.begin * m, m, weight,
                           tb ? m : n, 0, beam_real(p->c) + t.begin * n + j, n);
        }
    }
}

/* OpenBLAS rounds a row by where it stands among the others, so kept and dropped rows never share a tile: a
 * kept row has the same bits whether the dropped ones are computed or not. */
void beam_cpu_grouped_gemm(beam_backend *be, const beam_grouped_product *p, const beam_route *route,
                           beam_rows_of rows)
{
    if (p->x.data)
        beam_cpu_route_gather(be, p->a, p->x, route, rows);
    if (rows != BEAM_ROWS_DROPPED)
        multiply(be, p, route, BEAM_ROWS_KEPT);
    if (rows != BEAM_ROWS_KEPT)
        multiply(be, p, route, BEAM_ROWS_DROPPED);
    if (p->act.data)
        beam_cpu_swiglu(be, p->act, p->c, route, rows);
}

void beam_cpu_grouped_wgrad(beam_backend *be, beam_tensor dw, beam_tensor dy, beam_tensor x,
                            const beam_route *route, beam_rows_of rows)
{
    const int64_t experts = dw.dim[0], n = dw.dim[1], m = dw.dim[2];
    const int64_t high = (n + WGRAD_HIGH - 1) / WGRAD_HIGH, wide = (m + WGRAD_WIDE - 1) / WGRAD_WIDE;
#pragma omp parallel for schedule(dynamic) num_threads(be->threads)
    for (int64_t piece = 0; piece < experts * high * wide; piece++) {
        const int64_t e = piece / (high * wide), i = piece / wide % high * WGRAD_HIGH;
        const int64_t j = piece % wide * WGRAD_WIDE;
        const int64_t rows_i = n - i < WGRAD_HIGH ? n - i : WGRAD_HIGH;
        const int64_t columns_j = m - j < WGRAD_WIDE ? m - j : WGRAD_WIDE;
        int64_t begin, end;
        beam_expert_rows(route, e, rows, &begin, &end);
        if (end > begin)
            beam_blas_gemm(true, false, rows_i, columns_j, end - begin, 1, beam_real(dy) + begin * n + i, n,
                           beam_real(x) + begin * m + j, m, 1, beam_real(dw) + (e * n + i) * m + j, m);
    }
}
