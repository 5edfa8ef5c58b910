/* silu(gate) * up, gate and up side by side in groups of 8, which is one vector of floats. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vec.h"

enum { GROUP = 8, HIGH = 64 /* rows that a thread takes at a time */ };

static inline void group_forward(real *y, const real *gate, int64_t n)
{
    const real *up = gate + n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = gate[i] * beam_sigmoid(gate[i]) * up[i];
}

static inline void group_backward(real *dgate, const real *dy, const real *gate, int64_t n)
{
    const real *up = gate + n;
    real *dup = dgate + n;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const real g = gate[i], s = beam_sigmoid(g);
        dgate[i] = dy[i] * up[i] * s * (1 + g * (1 - s));
        dup[i] = dy[i] * g * s;
    }
}

/* A constant GROUP lets the compiler turn a group into straight vector code. */
static void row_forward(real *y, const real *gate_up, int64_t width)
{
    const int64_t whole = width / GROUP * GROUP;
    for (int64_t f = 0; f < whole; f += GROUP)
        group_forward(y + f, gate_up + 2 * f, GROUP);
    group_forward(y + whole, gate_up + 2 * whole, width - whole);
}

static void row_backward(real *dgate_up, const real *dy, const real *gate_up, int64_t width)
{
    const int64_t whole = width / GROUP * GROUP;
    for (int64_t f = 0; f < whole; f += GROUP)
        group_backward(dgate_up + 2 * f, dy + f, gate_up + 2 * f, GROUP);
    group_backward(dgate_up + 2 * whole, dy + whole, gate_up + 2 * whole, width - whole);
}

void beam_cpu_swiglu(beam_backend *be, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                     beam_rows_of rows)
{
    const int64_t width = y.dim[1];
    int64_t drawn = 0;
#pragma omp parallel num_threads(be->threads)
    {
        beam_row_tile t = {
            .route = route, .rows = rows, .total = y.dim[0], .height = HIGH, .parts = 1, .drawn = &drawn};
        while (beam_row_tile_next(&t))
            for (int64_t r = t.begin; r < t.end; r++)
                row_forward(beam_real(y) + r * width, beam_real(gate_up) + 2 * r * width, width);
    }
}

void beam_cpu_swiglu_grad(beam_backend *be, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up)
{
    const int64_t rows = dy.dim[0], width = dy.dim[1];
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        row_backward(beam_real(dgate_up) + 2 * r * width, beam_real(dy) + r * width,
                     beam_real(gate_up) + 2 * r * width, width);
}
