/* What a pair's output is worth, and its way back through the activation: both read the same numbers. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec.h"

enum { GROUP = 8, HIGH = 64 /* rows that a thread takes at a time */ };

/* sum[n] += dact * silu(gate) * up. */
static inline void group_dot(real *sum, const real *dact, const real *gate, int64_t n)
{
    const real *up = gate + n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        sum[i] += dact[i] * (gate[i] * beam_sigmoid(gate[i]) * up[i]);
}

/* That, and the gradient of a row of weight w; dgate may be gate. */
static inline void group_grad(real *sum, real *dgate, const real *dact, const real *gate, real w, int64_t n)
{
    const real *up = gate + n;
    real *dup = dgate + n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const real g = gate[i], u = up[i], s = beam_sigmoid(g), d = w * dact[i];
        sum[i] += dact[i] * (g * s * u);
        dgate[i] = d * u * s * (1 + g * (1 - s));
        dup[i] = d * g * s;
    }
}

static inline void group_act(real *act, const real *gate, real w, int64_t n)
{
    const real *up = gate + n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        act[i] = w * (gate[i] * beam_sigmoid(gate[i]) * up[i]);
}

/* One row: the addresses of what is absent are NULL. */
typedef struct {
    real *dgate_up, *act;
    const real *dact, *gate_up;
    real weight;
} row_grad;

static inline void group_of_row(const row_grad *row, real *sum, int64_t at, int64_t n)
{
    if (row->act)
        group_act(row->act + at, row->gate_up + 2 * at, row->weight, n);
    if (row->dgate_up)
        group_grad(sum, row->dgate_up + 2 * at, row->dact + at, row->gate_up + 2 * at, row->weight, n);
    else
        group_dot(sum, row->dact + at, row->gate_up + 2 * at, n);
}

/* A constant GROUP lets the compiler turn a group into straight vector code. */
static real row_backward(const row_grad *row, int64_t width)
{
    const int64_t whole = width / GROUP * GROUP;
    real sum[GROUP] = {0}, all = 0;
    for (int64_t f = 0; f < whole; f += GROUP)
        group_of_row(row, sum, f, GROUP);
    group_of_row(row, sum, whole, width - whole);
    for (int i = 0; i < GROUP; i++)
        all += sum[i];
    return all;
}

static row_grad row_of(const beam_pair_grads *out, beam_tensor dact, beam_tensor gate_up, int64_t r)
{
    const int64_t width = dact.dim[1];
    row_grad row = {.dact = beam_real(dact) + r * width, .gate_up = beam_real(gate_up) + 2 * r * width};
    if (out) {
        row.weight = beam_real(out->weight)[r];
        row.dgate_up = beam_real(out->dgate_up) + 2 * r * width;
        row.act = out->act.data ? beam_real(out->act) + r * width : NULL;
    }
    return row;
}

void beam_cpu_pair_grad(beam_backend *be, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                        beam_tensor gate_up, const beam_route *route, beam_rows_of rows)
{
    int64_t drawn = 0;
#pragma omp parallel num_threads(be->threads)
    {
        beam_row_tile t = {.route = route, .rows = rows, .height = HIGH, .parts = 1, .drawn = &drawn};
        while (beam_row_tile_next(&t))
            for (int64_t r = t.begin; r < t.end; r++) {
                const row_grad row = row_of(out, dact, gate_up, r);
                beam_real(dot)[r] = row_backward(&row, dact.dim[1]);
            }
    }
}
