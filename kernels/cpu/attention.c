/* Causal attention over tiles of queries and keys, with the softmax kept up to date as keys come in (Dao
 * 2023, "FlashAttention-2", arXiv:2307.08691). Products of tiles go to OpenBLAS; scores exist one tile at a
 * time, on the stack. Every output row has one owner that adds in a fixed order. */
#include <string.h>
#include <tgmath.h>

#include "kernels/cpu/axpy.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/real.h"
#include "kernels/cpu/vec.h"

/* A tile. QUERIES divides KEYS, so the first key of a tile never comes after the first query of a block that
 * sees any of it. */
enum { QUERIES = 64, KEYS = 128 };

typedef struct {
    const real *q, *k, *v;
    int64_t heads, groups;      /* H, G */
    int64_t width, value_width; /* Dh, Dv */
    int64_t window;             /* T where there is no limit: nothing is further away */
    real scale;
} attention_input;

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static attention_input make_input(beam_tensor q, beam_tensor k, beam_tensor v, beam_attention_rule rule)
{
    return (attention_input){.q = beam_real(q),
                             .k = beam_real(k),
                             .v = beam_real(v),
                             .heads = q.dim[1],
                             .groups = k.dim[1],
                             .width = q.dim[2],
                             .value_width = v.dim[2],
                             .window = rule.window > 0 ? min(rule.window, q.dim[0]) : q.dim[0],
                             .scale = (real)rule.scale};
}

/* Rows [at, at + n) of the sequence that starts at token `begin`. */
typedef struct {
    int64_t begin, length; /* the sequence */
    int64_t at, n;
} block;

/* Blocks of all sequences carry numbers below this. */
static int64_t block_numbers(beam_sequences seq, int64_t height)
{
    return beam_i32(seq.first)[seq.n] / height + seq.n;
}

/* The block with this number. The blocks of sequence i are numbered from first[i] / height + i on, which
 * leaves room for as many as it can have, whatever its place; numbers left over name no block, and give
 * false. */
static bool find_block(block *b, beam_sequences seq, int64_t height, int64_t number)
{
    const int32_t *first = beam_i32(seq.first);
    int64_t low = 0, high = seq.n; /* the sequence is in [low, high) */
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (first[middle] / height + middle <= number)
            low = middle;
        else
            high = middle;
    }
    b->begin = first[low];
    b->length = first[low + 1] - first[low];
    b->at = (number - first[low] / height - low) * height;
    b->n = min(height, b->length - b->at);
    return b->n > 0;
}

/* Where the first tile begins that a block of queries sees any of; the tiles up to its last query follow. */
static int64_t first_tile(const attention_input *in, block queries)
{
    return max(0, queries.at - in->window + 1) / KEYS * KEYS;
}

/* The keys of the tile at `at`, a multiple of KEYS, from the first to the last that the block of queries
 * sees. */
static block keys_seen(const attention_input *in, block queries, int64_t at)
{
    const int64_t from = max(at, queries.at - in->window + 1);
    const int64_t to = min(at + KEYS, queries.at + queries.n);
    return (block){queries.begin, queries.length, from, to - from};
}

/* Keys [from, to) of a tile, counted from its first; none when from == to. */
typedef struct {
    int64_t from, to;
} span;

/* What query i of the block sees of these keys. */
static span row_seen(const attention_input *in, block queries, int64_t i, block keys)
{
    const int64_t end = queries.at + i + 1 - keys.at, to = min(keys.n, end);
    return (span){min(max(0, end - in->window), to), to};
}

/* Clears the n scores of a row but for those seen. */
static void clear_unseen(real *s, span seen, int64_t n)
{
    memset(s, 0, (size_t)seen.from * sizeof(real));
    memset(s + seen.to, 0, (size_t)(n - seen.to) * sizeof(real));
}

/* Number of a block's first row of one head, in [T,H,..] and in [T,G,..]. */
static int64_t query_row(const attention_input *in, block queries, int64_t head)
{
    return (queries.begin + queries.at) * in->heads + head;
}

static int64_t key_row(const attention_input *in, block keys, int64_t head)
{
    return (keys.begin + keys.at) * in->groups + head * in->groups / in->heads;
}

/* s[n] becomes exp(s - top) with top = max(*top, largest of s). *sum takes the new terms in; the return value
 * is the factor that the old ones, and the outputs made from them, must shrink by. */
static real softmax_step(real *s, int64_t n, real *top, real *sum)
{
    real high = *top, added = 0;
#pragma omp simd reduction(max : high)
    for (int64_t j = 0; j < n; j++)
        high = s[j] > high ? s[j] : high;
#pragma omp simd reduction(+ : added)
    for (int64_t j = 0; j < n; j++)
        added += s[j] = beam_exp(s[j] - high);
    const real shrink = beam_exp(*top - high);
    *sum = *sum * shrink + added;
    *top = high;
    return shrink;
}

static void scale_row(real *x, real factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* out and lse of one head for one block of queries. */
static void attend(const attention_input *in, real *out, real *lse, block queries, int64_t head)
{
    const int64_t width = in->width, value_width = in->value_width;
    const int64_t ldq = in->heads * width, ldk = in->groups * width, ldv = in->groups * value_width,
                  ldo = in->heads * value_width;
    const int64_t own = query_row(in, queries, head), first = first_tile(in, queries);
    real top[QUERIES] = {0}, sum[QUERIES] = {0}; /* the sum is 0 until a row has seen a key */
    _Alignas(64) real s[QUERIES * KEYS];
    for (int64_t at = first; at < queries.at + queries.n; at += KEYS) {
        const block keys = keys_seen(in, queries, at);
        const int64_t other = key_row(in, keys, head);
        beam_blas_gemm(false, true, queries.n, keys.n, width, in->scale, in->q + own * width, ldq,
                       in->k + other * width, ldk, 0, s, KEYS);
        for (int64_t i = 0; i < queries.n; i++) {
            const span seen = row_seen(in, queries, i, keys);
            real *row = s + i * KEYS, shrink = 1;
            if (seen.from < seen.to) {
                if (sum[i] == 0)
                    top[i] = row[seen.from];
                shrink = softmax_step(row + seen.from, seen.to - seen.from, &top[i], &sum[i]);
            }
            clear_unseen(row, seen, keys.n);
            if (at > first && shrink < 1)
                scale_row(out + own * value_width + i * ldo, shrink, value_width);
        }
        beam_blas_gemm(false, false, queries.n, value_width, keys.n, 1, s, KEYS, in->v + other * value_width,
                       ldv, at > first, out + own * value_width, ldo);
    }
    for (int64_t i = 0; i < queries.n; i++) {
        scale_row(out + own * value_width + i * ldo, 1 / sum[i], value_width);
        lse[own + i * in->heads] = top[i] + log(sum[i]);
    }
}

void beam_cpu_attention(beam_backend *be, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                        beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    const attention_input in = make_input(q, k, v, rule);
    const int64_t items = block_numbers(seq, QUERIES) * in.heads;
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t item = items - 1; item >= 0; item--) { /* backwards: the blocks that see most come first */
        block queries;
        if (find_block(&queries, seq, QUERIES, item / in.heads))
            attend(&in, beam_real(out), beam_real(lse), queries, item % in.heads);
    }
}

typedef struct {
    attention_input in;
    const real *out, *lse, *dout;
    real *dq, *dk, *dv;
} attention_backward;

/* p becomes the softmax weights of one row of scores, dp (the gradient of those weights) that of q.k. */
static void score_grad(real *restrict p, real *restrict dp, real lse, real delta, real scale, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        p[j] = beam_exp(p[j] - lse);
        dp[j] = scale * p[j] * (dp[j] - delta);
    }
}

/* Adds one tile's part to the gradients of its queries, of its keys and values, or both. Callers bring the
 * tiles of a query in the order of keys, those of a key in the order of (head, query). */
static void add_tile(const attention_backward *b, block queries, int64_t at, int64_t head, bool to_queries,
                     bool to_keys)
{
    const attention_input *in = &b->in;
    const block keys = keys_seen(in, queries, at);
    const int64_t nq = queries.n, nk = keys.n, width = in->width, value_width = in->value_width;
    const int64_t ldq = in->heads * width, ldk = in->groups * width, ldv = in->groups * value_width,
                  ldo = in->heads * value_width;
    const int64_t own = query_row(in, queries, head), other = key_row(in, keys, head);
    const real *q = in->q + own * width, *k = in->k + other * width, *v = in->v + other * value_width;
    const real *out = b->out + own * value_width, *dout = b->dout + own * value_width;
    _Alignas(64) real p[QUERIES * KEYS], ds[QUERIES * KEYS];
    beam_blas_gemm(false, true, nq, nk, width, in->scale, q, ldq, k, ldk, 0, p, KEYS);
    beam_blas_gemm(false, true, nq, nk, value_width, 1, dout, ldo, v, ldv, 0, ds, KEYS);
    for (int64_t i = 0; i < nq; i++) {
        const span seen = row_seen(in, queries, i, keys);
        score_grad(p + i * KEYS + seen.from, ds + i * KEYS + seen.from, b->lse[own + i * in->heads],
                   beam_dot(dout + i * ldo, out + i * ldo, value_width), in->scale, seen.to - seen.from);
        clear_unseen(p + i * KEYS, seen, nk);
        clear_unseen(ds + i * KEYS, seen, nk);
    }
    if (to_queries)
        beam_blas_gemm(false, false, nq, width, nk, 1, ds, KEYS, k, ldk, 1, b->dq + own * width, ldq);
    if (!to_keys)
        return;
    beam_blas_gemm(true, false, nk, value_width, nq, 1, p, KEYS, dout, ldo, 1, b->dv + other * value_width,
                   ldv);
    beam_blas_gemm(true, false, nk, width, nq, 1, ds, KEYS, q, ldq, 1, b->dk + other * width, ldk);
}

/* Zeroes the next n tokens of one head of x, whose rows are `stride` apart. */
static void zero_rows(real *x, int64_t n, int64_t stride, int64_t width)
{
    for (int64_t i = 0; i < n; i++)
        memset(x + i * stride, 0, (size_t)width * sizeof(real));
}

/* dq of one head for one block of queries; with to_keys, also the block's part of dk and dv. */
static void query_grad(const attention_backward *b, block queries, int64_t head, bool to_keys)
{
    const attention_input *in = &b->in;
    zero_rows(b->dq + query_row(in, queries, head) * in->width, queries.n, in->heads * in->width, in->width);
    for (int64_t at = first_tile(in, queries); at < queries.at + queries.n; at += KEYS)
        add_tile(b, queries, at, head, true, to_keys);
}

static void zero_keys(const attention_backward *b, block keys, int64_t head)
{
    const attention_input *in = &b->in;
    const int64_t row = key_row(in, keys, head);
    zero_rows(b->dk + row * in->width, keys.n, in->groups * in->width, in->width);
    zero_rows(b->dv + row * in->value_width, keys.n, in->groups * in->value_width, in->value_width);
}

/* Everything of one sequence and one key/value head, which is served by query heads [head, head + n). */
static void sequence_grad(const attention_backward *b, block all, int64_t head, int64_t n)
{
    zero_keys(b, all, head);
    for (int64_t h = head; h < head + n; h++)
        for (int64_t at = 0; at < all.length; at += QUERIES) {
            const block queries = {all.begin, all.length, at, min(QUERIES, all.length - at)};
            query_grad(b, queries, h, true);
        }
}

/* dk and dv of one block of keys, in the order in which sequence_grad adds. Its last key is the one that the
 * furthest queries see. */
static void key_grad(const attention_backward *b, block keys, int64_t head, int64_t n)
{
    const int64_t end = min(keys.length, keys.at + keys.n - 1 + b->in.window);
    zero_keys(b, keys, head);
    for (int64_t h = head; h < head + n; h++)
        for (int64_t at = keys.at; at < end; at += QUERIES) {
            const block queries = {keys.begin, keys.length, at, min(QUERIES, keys.length - at)};
            add_tile(b, queries, keys.at, h, false, true);
        }
}

/* One item per sequence and key/value head: every tile is computed once. */
static void grad_by_sequence(beam_backend *be, const attention_backward *b, beam_sequences seq)
{
    const int64_t groups = b->in.groups, share = b->in.heads / groups;
    const int32_t *first = beam_i32(seq.first);
#pragma omp parallel for num_threads(be->threads) schedule(dynamic)
    for (int64_t item = 0; item < seq.n * groups; item++) {
        const int64_t i = item / groups, begin = first[i], length = first[i + 1] - begin;
        const block all = {begin, length, 0, length};
        sequence_grad(b, all, item % groups * share, share);
    }
}

/* One item per block: every tile is computed twice, once for its keys and once for its queries. */
static void grad_by_block(beam_backend *be, const attention_backward *b, beam_sequences seq)
{
    const int64_t heads = b->in.heads, groups = b->in.groups, share = heads / groups;
    const int64_t by_keys = block_numbers(seq, KEYS) * groups,
                  by_queries = block_numbers(seq, QUERIES) * heads;
#pragma omp parallel num_threads(be->threads)
    {
#pragma omp for schedule(dynamic) nowait
        for (int64_t item = 0; item < by_keys; item++) {
            block keys;
            if (find_block(&keys, seq, KEYS, item / groups))
                key_grad(b, keys, item % groups * share, share);
        }
#pragma omp for schedule(dynamic)
        for (int64_t item = by_queries - 1; item >= 0; item--) {
            block queries;
            if (find_block(&queries, seq, QUERIES, item / heads))
                query_grad(b, queries, item % heads, false);
        }
    }
}

void beam_cpu_attention_grad(beam_backend *be, beam_tensor dq, beam_tensor dk, beam_tensor dv,
                             beam_tensor dout, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                             beam_tensor v, beam_sequences seq, beam_attention_rule rule)
{
    const attention_backward b = {.in = make_input(q, k, v, rule),
                                  .out = beam_real(out),
                                  .lse = beam_real(lse),
                                  .dout = beam_real(dout),
                                  .dq = beam_real(dq),
                                  .dk = beam_real(dk),
                                  .dv = beam_real(dv)};
    const int64_t items = seq.n * b.in.groups;
    /* Too few items leave threads idle, which costs more than computing the tiles twice. Both ways add the
     * same tiles in the same order, so the choice does not show in the result. */
    if (items >= 2 * (int64_t)be->threads || items == be->threads)
        grad_by_sequence(be, &b, seq);
    else
        grad_by_block(be, &b, seq);
}
