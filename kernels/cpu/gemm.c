/* C is cut into tiles, and K into chunks when the tiles are few, by shape alone; every piece is one product
 * on one thread. So the bits of C do not depend on the number of threads. */
#include "kernels/cpu/blas.h"
#include "kernels/cpu/cpu.h"

typedef struct {
    const real *a, *b;
    real *c;
    bool ta, tb;
    int64_t m, n, k, lda, ldb;
    real alpha, beta;
    int64_t tile_m, tile_n, chunk_k; /* size of a piece */
    int64_t tiles_m, tiles_n, chunks;
} product;

enum {
    PIECES = 48,          /* wanted: enough for many cores */
    PIECE_WORK = 1 << 21, /* multiply-adds; smaller pieces are dominated by their overhead */
    DEEP = 512,           /* the shortest chunk of K: each chunk writes and reads a partial sum */
    SUM_BLOCK = 4096,
};

/* Sizes of a tile of C [rows, columns]. Every piece packs its operands anew, so larger and wider is faster.
 */
static const struct {
    int64_t high, wide;
} tile_sizes[] = {{512, 768}, {256, 768}, {256, 512}, {192, 512},
                  {128, 512}, {128, 256}, {64, 256},  {64, 128}};

enum { TILE_SIZES = sizeof tile_sizes / sizeof tile_sizes[0] };

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The size of equal parts of n, none above `most`; whole steps of OpenBLAS's inner kernel. */
static int64_t even_part(int64_t n, int64_t most)
{
    return n <= most ? n : ceil_div(ceil_div(n, ceil_div(n, most)), 16) * 16;
}

/* The largest tiles that give enough pieces, with K in chunks where that helps and scratch has the room. */
static void cut(product *p)
{
    const int64_t pieces = least(PIECES, p->m * p->n * p->k / PIECE_WORK);
    const int64_t room = BEAM_CPU_SCRATCH / (int64_t)sizeof(real) / (p->m * p->n);
    for (int i = 0; i < TILE_SIZES; i++) {
        p->tile_m = even_part(p->m, tile_sizes[i].high);
        p->tile_n = even_part(p->n, tile_sizes[i].wide);
        p->tiles_m = ceil_div(p->m, p->tile_m);
        p->tiles_n = ceil_div(p->n, p->tile_n);
        const int64_t tiles = p->tiles_m * p->tiles_n;
        const int64_t chunks = least(ceil_div(pieces, tiles), least(p->k / DEEP, 1 + room));
        p->chunk_k = chunks > 1 ? even_part(p->k, ceil_div(p->k, chunks)) : p->k;
        p->chunks = chunks > 1 ? ceil_div(p->k, p->chunk_k) : 1;
        if (tiles * p->chunks >= pieces)
            return;
    }
}

/* Chunk 0 goes to C itself, the others to partial sums in scratch, [chunks-1, m, n]. */
static void run_piece(const product *p, real *partial, int64_t piece)
{
    const int64_t i = piece % p->tiles_m * p->tile_m, j = piece / p->tiles_m % p->tiles_n * p->tile_n;
    const int64_t chunk = piece / (p->tiles_m * p->tiles_n), l = chunk * p->chunk_k;
    real *c = chunk == 0 ? p->c : partial + (chunk - 1) * p->m * p->n;
    const real *a = p->a + (p->ta ? l * p->lda + i : i * p->lda + l);
    const real *b = p->b + (p->tb ? j * p->ldb + l : l * p->ldb + j);
    beam_blas_gemm(p->ta, p->tb, least(p->tile_m, p->m - i), least(p->tile_n, p->n - j),
                   least(p->chunk_k, p->k - l), p->alpha, a, p->lda, b, p->ldb, chunk == 0 ? p->beta : 0,
                   c + i * p->n + j, p->n);
}

static void add_partial_sums(const product *p, const real *partial, int64_t begin, int64_t end)
{
    for (int64_t chunk = 0; chunk < p->chunks - 1; chunk++) {
        const real *x = partial + chunk * p->m * p->n;
#pragma omp simd
        for (int64_t i = begin; i < end; i++)
            p->c[i] += x[i];
    }
}

void beam_cpu_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                   double alpha, double beta)
{
    const int64_t lda = a.dim[a.ndim - 1], rows = lda ? beam_count(a) / lda : a.dim[0];
    product p = {.c = beam_real(c), .a = beam_real(a), .b = beam_real(b), .ta = ta, .tb = tb};
    p.n = c.dim[c.ndim - 1];
    p.m = p.n ? beam_count(c) / p.n : 0;
    p.k = ta ? rows : lda;
    p.lda = lda > 0 ? lda : 1;
    p.ldb = b.dim[1] > 0 ? b.dim[1] : 1;
    p.alpha = (real)alpha;
    p.beta = (real)beta;
    if (p.m == 0 || p.n == 0)
        return;
    cut(&p);
    const int64_t pieces = p.tiles_m * p.tiles_n * p.chunks, blocks = ceil_div(p.m * p.n, SUM_BLOCK);
    real *partial = beam_cpu_scratch(be);
#pragma omp parallel num_threads(be->threads)
    {
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < pieces; i++)
            run_piece(&p, partial, i);
        if (p.chunks > 1) {
#pragma omp for
            for (int64_t i = 0; i < blocks; i++)
                add_partial_sums(&p, partial, i * SUM_BLOCK, least((i + 1) * SUM_BLOCK, p.m * p.n));
        }
    }
}
