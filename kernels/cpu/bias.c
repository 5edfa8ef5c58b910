/* Biases: added to every row, their gradient summed over rows. */
#include "kernels/cpu/columns.h"
#include "kernels/cpu/cpu.h"

void beam_cpu_add_bias(beam_backend *be, beam_tensor y, beam_tensor bias)
{
    const int64_t n = bias.dim[0], rows = beam_count(y) / n;
    const real *b = beam_real(bias);
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        real *row = beam_real(y) + r * n;
#pragma omp simd
        for (int64_t i = 0; i < n; i++)
            row[i] += b[i];
    }
}

void beam_cpu_bias_grad(beam_backend *be, beam_tensor dbias, beam_tensor dy)
{
    const int64_t n = dbias.dim[0];
    const beam_tensor rows = beam_reshape(dy, BEAM_DIMS(beam_count(dy) / n, n));
#pragma omp parallel for num_threads(be->threads) schedule(static)
    for (int64_t first = 0; first < n; first += BEAM_COLUMN_BLOCK) {
        double sum[BEAM_COLUMN_BLOCK];
        const int64_t columns = beam_sum_columns(sum, rows, first, NULL);
        for (int64_t i = 0; i < columns; i++)
            beam_real(dbias)[first + i] += (real)sum[i];
    }
}
