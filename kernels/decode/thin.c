#include "kernels/decode/thin.h"

#include "kernels/decode/lanes.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    PIECE_BYTES = 1 << 16,
    ROWS = 4, /* of a tile; each token adds as many running sums */
#if defined(__AVX512F__)
    TOKENS = 4, /* of a tile: as many as there are registers for */
#else
    TOKENS = 3,
#endif
};

INLINE beam_lanes load(const void *w, bool bf16, int64_t i)
{
    return bf16 ? beam_lanes_bf16((const uint16_t *)w + i) : beam_lanes_f32((const float *)w + i);
}

INLINE float number(const void *w, bool bf16, int64_t i)
{
    return bf16 ? beam_bf16_to_f32(((const uint16_t *)w)[i]) : ((const float *)w)[i];
}

/* What does not fill the lanes comes last, one by one. */
INLINE float finish(beam_lanes sum, const void *w, bool bf16, const float *x, int64_t from, int64_t n)
{
    float s = beam_lanes_sum(sum);
    for (int64_t i = from; i < n; i++)
        s += number(w, bf16, i) * x[i];
    return s;
}

/* `rows` rows of `n` weights with `tokens` inputs: constants, so that every sum has a register. `first`:
 * these weights come from memory, so the ones that follow them are asked for meanwhile; processors do that by
 * themselves only within a page, which a row or two fill. */
INLINE void tile(float *out, int64_t stride, const char *w, bool bf16, int64_t n, const float *const *x,
                 const int rows, const int tokens, const bool first)
{
    const int64_t row_bytes = n * (bf16 ? 2 : 4), whole = n / BEAM_LANES * BEAM_LANES;
    beam_lanes sum[ROWS][TOKENS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++)
            sum[r][t] = beam_lanes_zero();
    for (int64_t i = 0; i < whole; i += BEAM_LANES) {
        beam_lanes in[TOKENS];
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++)
            in[t] = beam_lanes_f32(x[t] + i);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const beam_lanes row = load(w + r * row_bytes, bf16, i);
            if (first)
                __builtin_prefetch(w + (r + rows) * row_bytes + i * (bf16 ? 2 : 4));
#pragma GCC unroll 8
            for (int t = 0; t < tokens; t++)
                sum[r][t] = beam_lanes_fma(row, in[t], sum[r][t]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++)
            out[t * stride + r] = finish(sum[r][t], w + r * row_bytes, bf16, x[t], whole, n);
}

/* All tokens with `rows` rows. */
INLINE void strip(float *out, int64_t stride, const char *w, bool bf16, int64_t n, const float *const *x,
                  int64_t tokens, const int rows)
{
    for (int64_t t = 0, left; (left = tokens - t) > 0;) {
        const bool first = t == 0;
        float *to = out + t * stride;
        if (left >= TOKENS && left != TOKENS + 1) {
            tile(to, stride, w, bf16, n, x + t, rows, TOKENS, first);
            t += TOKENS;
        } else if (left >= 2) {
            tile(to, stride, w, bf16, n, x + t, rows, 2, first);
            t += 2;
        } else {
            tile(to, stride, w, bf16, n, x + t, rows, 1, first);
            t++;
        }
    }
}

INLINE void dots(float *out, int64_t stride, beam_matrix w, bool bf16, const float *const *x, int64_t tokens)
{
    int64_t r = 0;
    for (; r + ROWS <= w.rows; r += ROWS)
        strip(out + r, stride, beam_matrix_row(w, r), bf16, w.width, x, tokens, ROWS);
    for (; r < w.rows; r++)
        strip(out + r, stride, beam_matrix_row(w, r), bf16, w.width, x, tokens, 1);
}

void beam_thin_dots(float *out, int64_t stride, beam_matrix w, const float *const *x, int64_t tokens)
{
    if (w.type == BEAM_BF16)
        dots(out, stride, w, true, x, tokens);
    else
        dots(out, stride, w, false, x, tokens);
}

int64_t beam_thin_piece(beam_matrix w)
{
    const int64_t bytes = beam_matrix_row_bytes(w), rows = bytes > 0 ? PIECE_BYTES / bytes / 8 * 8 : 8;
    return rows < 8 ? 8 : rows;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

void beam_thin_product(int threads, float *y, int64_t y_stride, beam_matrix w, const float *x,
                       int64_t x_stride, int64_t tokens)
{
    const int64_t piece = beam_thin_piece(w), pieces = (w.rows + piece - 1) / piece;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (pieces > 1)
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t first = i * piece;
        const beam_matrix part = beam_matrix_rows(w, first, least(piece, w.rows - first));
        for (int64_t t = 0; t < tokens; t += BEAM_THIN_TOKENS) {
            const int64_t n = least(BEAM_THIN_TOKENS, tokens - t);
            const float *in[BEAM_THIN_TOKENS];
            for (int64_t j = 0; j < n; j++)
                in[j] = x + (t + j) * x_stride;
            beam_thin_dots(y + t * y_stride + first, y_stride, part, in, n);
        }
    }
}

void beam_matrix_unpack(float *out, beam_matrix w, int64_t row)
{
    const void *from = beam_matrix_row(w, row);
    for (int64_t i = 0; i < w.width; i++)
        out[i] = number(from, w.type == BEAM_BF16, i);
}

void beam_thin_combine(float *y, beam_matrix w, int64_t stride, const float *x)
{
    for (int64_t r = 0; r < w.rows; r++) {
        const float factor = x[r];
        if (w.type == BEAM_BF16) {
            const uint16_t *row = (const uint16_t *)w.data + r * stride;
#pragma omp simd
            for (int64_t i = 0; i < w.width; i++)
                y[i] += factor * beam_bf16_to_f32(row[i]);
        } else {
            const float *row = (const float *)w.data + r * stride;
#pragma omp simd
            for (int64_t i = 0; i < w.width; i++)
                y[i] += factor * row[i];
        }
    }
}
