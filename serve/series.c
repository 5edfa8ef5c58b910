#include "serve/series.h"

#include <math.h>

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

void beam_series_bin(const double *y, int64_t n, int64_t bins, double *out)
{
    for (int64_t j = 0; j < bins; j++)
        out[j] = mean(y, j * n / bins, (j + 1) * n / bins);
}
