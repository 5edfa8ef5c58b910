#include "serve/series.h"

#include <math.h>
#include <stdlib.h>

/* A sum of what is finite. */
typedef struct {
    double sum;
    int64_t n;
} total;

static void add(total *t, double value)
{
    if (!isfinite(value))
        return;
    t->sum += value;
    t->n++;
}

static double mean(const double *y, int64_t from, int64_t until)
{
    total t = {0};
    for (int64_t i = from; i < until; i++)
        add(&t, y[i]);
    return t.n > 0 ? t.sum / (double)t.n : NAN;
}

void beam_series_smooth(const double *x, const double *y, int64_t n, int64_t half, int64_t m, double *out_x,
                        double *out_y)
{
    for (int64_t j = 0; j < m; j++) {
        const int64_t i = m > 1 ? j * (n - 1) / (m - 1) : 0, end = n - 1 - i;
        const int64_t near = i < end ? i : end, w = half < near ? half : near;
        out_x[j] = x[i];
        out_y[j] = mean(y, i - w, i + w + 1);
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

beam_status beam_series_range(const double *y, int64_t n, double *lo, double *hi)
{
    double *sorted = calloc((size_t)n + 1, sizeof *sorted);
    int64_t finite = 0;
    if (!sorted)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a chart of %lld steps", (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (isfinite(y[i]))
            sorted[finite++] = y[i];
    qsort(sorted, (size_t)finite, sizeof *sorted, ascending);
    if (finite > 0) {
        *lo = sorted[finite / 100];
        *hi = sorted[finite - 1 - finite / 100];
    }
    free(sorted);
    return BEAM_OK;
}
