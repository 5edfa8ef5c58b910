/* Products of few rows with a weight matrix that stays in memory as it is stored, bf16 or float: what
 * decoding does. The time is that of reading the weights once.
 *
 * Every output is one dot product, added up in an order that depends on its length alone. So a token has the
 * same bits whatever other tokens it comes with, and whatever the number of threads. */
#ifndef BEAM_KERNELS_DECODE_THIN_H
#define BEAM_KERNELS_DECODE_THIN_H

#include "core/tensor.h"

/* Row-major [rows, width]. */
typedef struct {
    const void *data;
    beam_dtype type; /* BEAM_BF16 or BEAM_F32 */
    int64_t rows, width;
} beam_matrix;

static inline beam_matrix beam_matrix_of(beam_tensor t) /* [N,M] */
{
    return (beam_matrix){.data = t.data, .type = t.dtype, .rows = t.dim[0], .width = t.dim[1]};
}

static inline int64_t beam_matrix_row_bytes(beam_matrix w)
{
    return w.width * (w.type == BEAM_BF16 ? 2 : 4);
}

static inline const void *beam_matrix_row(beam_matrix w, int64_t row)
{
    return (const char *)w.data + row * beam_matrix_row_bytes(w);
}

static inline beam_matrix beam_matrix_rows(beam_matrix w, int64_t first, int64_t n)
{
    w.data = beam_matrix_row(w, first);
    w.rows = n;
    return w;
}

enum { BEAM_THIN_TOKENS = 32 }; /* of one call of beam_thin_dots: their inputs stay in the cache */

/* On the calling thread: out[t * stride + r] = <row r of w, x[t]> for tokens <= BEAM_THIN_TOKENS. */
void beam_thin_dots(float *out, int64_t stride, beam_matrix w, const float *const *x, int64_t tokens);

/* How many rows of w make a piece of work: about 64 kB of weights, in steps of 8 rows. By shape alone. */
int64_t beam_thin_piece(beam_matrix w);

/* y[T, w.rows] = x[T, w.width] w^T, with the rows of y and x so many elements apart. */
void beam_thin_product(int threads, float *y, int64_t y_stride, beam_matrix w, const float *x,
                       int64_t x_stride, int64_t tokens);

/* On the calling thread: y[w.width] += the sum over r of x[r] * row r of w, in the order of rows, which are
 * `stride` elements apart. */
void beam_thin_combine(float *y, beam_matrix w, int64_t stride, const float *x);

/* Row `row` of w as floats. */
void beam_matrix_unpack(float *out, beam_matrix w, int64_t row);

#endif
