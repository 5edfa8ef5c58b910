/* What a chart shows instead of every step. */
#ifndef BEAM_SERVE_SERIES_H
#define BEAM_SERVE_SERIES_H

#include <stdint.h>

#include "core/status.h"

/* At m of the n points, spread evenly from the first to the last (2 <= m <= n, or m = n): out_x[j] = x[i],
 * out_y[j] = mean of the finite ones of y[i - w .. i + w]. w is `half` and shrinks towards both ends, so that
 * neither end is biased. NAN where none is finite. */
void beam_series_smooth(const double *x, const double *y, int64_t n, int64_t half, int64_t m, double *out_x,
                        double *out_y);

/* All but the lowest and the highest hundredth of the finite ones of n values: *lo and *hi; both stay as they
 * are if none is finite. BEAM_ENOMEM is the only failure. */
beam_status beam_series_range(const double *y, int64_t n, double *lo, double *hi);

#endif
