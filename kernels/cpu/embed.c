/* Rows of a table by token id. */
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { COLUMNS = 16 }; /* that a thread adds up: a cache line of floats */

void beam_cpu_embed(beam_backend *be, beam_tensor y, beam_tensor table, beam_tensor id)
{
    const int64_t tokens = y.dim[0], width = y.dim[1], vocabulary = table.dim[0];
    const int32_t *row = beam_i32(id);
#pragma omp parallel for num_threads(be->threads)
    for (int64_t t = 0; t < tokens; t++) {
        BEAM_ASSERT(row[t] >= 0 && row[t] < vocabulary);
        memcpy(beam_real(y) + t * width, beam_real(table) + row[t] * width, (size_t)width * sizeof(real));
    }
}

/* Threads share out the columns: tokens with the same id add up in order. */
void beam_cpu_embed_grad(beam_backend *be, beam_tensor dtable, beam_tensor dy, beam_tensor id)
{
    const int64_t tokens = dy.dim[0], width = dy.dim[1], vocabulary = dtable.dim[0];
    const int64_t blocks = (width + COLUMNS - 1) / COLUMNS;
    const int32_t *row = beam_i32(id);
#pragma omp parallel for num_threads(be->threads)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t j = block * COLUMNS, n = width - j < COLUMNS ? width - j : COLUMNS;
        for (int64_t t = 0; t < tokens; t++) {
            BEAM_ASSERT(row[t] >= 0 && row[t] < vocabulary);
            real *to = beam_real(dtable) + row[t] * width + j;
            const real *from = beam_real(dy) + t * width + j;
#pragma omp simd
            for (int64_t i = 0; i < n; i++)
                to[i] += from[i];
        }
    }
}
