#include "optim/clip.h"

#include <math.h>

/* Spans of equal length that follow one another are the rows of one call. */
static int64_t count_rows(const beam_span *spans, int64_t n)
{
    int64_t rows = 1;
    while (rows < n && spans[rows].n == spans[0].n && spans[rows].first == spans[0].first + rows * spans[0].n)
        rows++;
    return rows;
}

void beam_grad_squares(beam_backend *be, beam_tensor grads, const beam_span *spans, int64_t n,
                       beam_tensor sums)
{
    beam_zero(be, sums);
    for (int64_t i = 0, rows; i < n; i += rows) {
        const int64_t length = spans[i].n;
        rows = count_rows(spans + i, n - i);
        if (length > 0)
            beam_sum_squares(
                be, beam_rows(sums, i, rows),
                beam_reshape(beam_rows(grads, spans[i].first, rows * length), BEAM_DIMS(rows, length)));
    }
}

double beam_grad_norm(const double *squares, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += squares[i];
    return sqrt(sum);
}

double beam_clip_scale(double norm, double max_norm)
{
    return max_norm > 0 && norm > max_norm ? max_norm / norm : 1.0;
}
