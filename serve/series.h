/* What a chart shows instead of every step. */
#ifndef BEAM_SERVE_SERIES_H
#define BEAM_SERVE_SERIES_H

#include <stdint.h>

/* At m of the n points, spread evenly from the first to the last (2 <= m <= n, or m = n): out_x[j] = x[i],
 * out_y[j] = mean of the finite ones of y[i - w .. i + w]. w is `half` and shrinks towards both ends, so that
 * neither end is biased. NAN where none is finite. */
void beam_series_smooth(const double *x, const double *y, int64_t n, int64_t half, int64_t m, double *out_x,
                        double *out_y);

/* out[j] = mean of the finite ones of the j-th of `bins` groups of about n / bins values; bins <= n. */
void beam_series_bin(const double *y, int64_t n, int64_t bins, double *out);

#endif
