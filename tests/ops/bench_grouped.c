/* How fast a GPU's products of experts are, beside one dense product of the same rows: by cuBLASLt, which
 * says what the card can do, and by beam's own tiles. Skipped (77) without a GPU. Not a test: nothing can
 * fail but the device.
 *
 * bench_grouped [T D F E K]: tokens, hidden size, expert width, experts, candidates; 16384 2048 768 128 8. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "kernels/cuda/devices.h"
#include "kernels/ops.h"

static const double kept_share = 1.2 / 8; /* Avg-K 1.2 of 8 */

enum { WARM_UP = 3, REPEATS = 10, PIECE = 1 << 20 };

typedef struct {
    int64_t tokens, hidden, width, experts, candidates, rows;
    beam_backend be;
    beam_route route;
    int64_t kept; /* rows, of all experts */
    /* Tokens; rows of D, of F and of 2F numbers; weights [E,2F,D] and [E,D,F], the gradient of the first. */
    beam_tensor x, wide_rows, narrow_rows, middle_rows, up, down, dup;
} bench;

static beam_tensor make(bench *b, beam_dtype t, int ndim, const int64_t dim[])
{
    beam_tensor x = beam_view(NULL, t, ndim, dim);
    x.data = beam_alloc(&b->be, beam_bytes(x), "a benchmark's tensor");
    return x;
}

/* Random numbers, because zeros cost less power and so run faster. */
static void fill(bench *b, beam_tensor x)
{
    uint16_t *host = malloc(PIECE * sizeof *host);
    BEAM_ASSERT(host && x.dtype == BEAM_BF16);
    for (int64_t i = 0; i < PIECE; i++)
        host[i] = beam_f32_to_bf16((float)(beam_random_uniform(1, 0, (uint64_t)i) - 0.5));
    const int64_t n = beam_count(x);
    for (int64_t i = 0; i < n && x.data; i += PIECE) {
        const int64_t size[] = {n - i < PIECE ? n - i : PIECE};
        beam_upload(&b->be, beam_view((uint16_t *)x.data + i, BEAM_BF16, 1, size), host);
    }
    free(host);
}

/* Every token has K different experts, and keeps each with the same chance. */
static void fill_route(bench *b)
{
    const int64_t T = b->tokens, K = b->candidates, E = b->experts, R = b->rows;
    int32_t *expert = malloc((size_t)R * sizeof *expert);
    uint8_t *keep = malloc((size_t)R);
    BEAM_ASSERT(expert && keep);
    for (int64_t r = 0; r < R; r++) {
        expert[r] = (int32_t)beam_random_permute(2, (uint64_t)(r / K), (uint64_t)(r % K), (uint64_t)E);
        keep[r] = beam_random_uniform(3, 0, (uint64_t)r) < kept_share;
        b->kept += keep[r];
    }
    b->route = (beam_route){.expert = make(b, BEAM_I32, BEAM_DIMS(T, K)),
                            .keep = make(b, BEAM_U8, BEAM_DIMS(T, K)),
                            .row = make(b, BEAM_I32, BEAM_DIMS(T, K)),
                            .pair = make(b, BEAM_I32, BEAM_DIMS(R)),
                            .first = make(b, BEAM_I32, BEAM_DIMS(E + 1)),
                            .kept = make(b, BEAM_I32, BEAM_DIMS(E))};
    beam_upload(&b->be, b->route.expert, expert);
    beam_upload(&b->be, b->route.keep, keep);
    beam_route_plan(&b->be, &b->route);
    beam_sync(&b->be);
    free(expert);
    free(keep);
}

static void up_all(bench *b)
{
    beam_grouped_gemm(&b->be,
                      &(beam_grouped_product){.c = b->middle_rows, .a = b->wide_rows, .b = b->up, .tb = true},
                      &b->route, BEAM_ROWS_ALL);
}

/* From tokens to activations, in one operation and in three. */
static void hidden_fused(bench *b)
{
    beam_grouped_gemm(
        &b->be,
        &(beam_grouped_product){
            .c = b->middle_rows, .a = b->wide_rows, .x = b->x, .b = b->up, .act = b->narrow_rows, .tb = true},
        &b->route, BEAM_ROWS_ALL);
}

static void hidden_apart(bench *b)
{
    beam_route_gather(&b->be, b->wide_rows, b->x, &b->route, BEAM_ROWS_ALL);
    up_all(b);
    beam_swiglu(&b->be, b->narrow_rows, b->middle_rows, &b->route, BEAM_ROWS_ALL);
}

static void down_all(bench *b)
{
    beam_grouped_gemm(
        &b->be, &(beam_grouped_product){.c = b->wide_rows, .a = b->narrow_rows, .b = b->down, .tb = true},
        &b->route, BEAM_ROWS_ALL);
}

static void down_grad_all(bench *b)
{
    beam_grouped_gemm(&b->be, &(beam_grouped_product){.c = b->narrow_rows, .a = b->wide_rows, .b = b->down},
                      &b->route, BEAM_ROWS_ALL);
}

static void up_grad_all(bench *b)
{
    beam_grouped_gemm(&b->be, &(beam_grouped_product){.c = b->wide_rows, .a = b->middle_rows, .b = b->up},
                      &b->route, BEAM_ROWS_ALL);
}

static void up_wgrad_all(bench *b)
{
    beam_grouped_wgrad(&b->be, b->dup, b->middle_rows, b->wide_rows, &b->route, BEAM_ROWS_ALL);
}

static void down_grad_kept(bench *b)
{
    beam_grouped_gemm(&b->be, &(beam_grouped_product){.c = b->narrow_rows, .a = b->wide_rows, .b = b->down},
                      &b->route, BEAM_ROWS_KEPT);
}

static void up_grad_kept(bench *b)
{
    beam_grouped_gemm(&b->be, &(beam_grouped_product){.c = b->wide_rows, .a = b->middle_rows, .b = b->up},
                      &b->route, BEAM_ROWS_KEPT);
}

static void up_wgrad_kept(bench *b)
{
    beam_grouped_wgrad(&b->be, b->dup, b->middle_rows, b->wide_rows, &b->route, BEAM_ROWS_KEPT);
}

/* All rows with the first expert's weight. */
static void dense(bench *b)
{
    const beam_tensor one = beam_reshape(beam_rows(b->up, 0, 1), 2, (int64_t[]){2 * b->width, b->hidden});
    beam_gemm(&b->be, b->middle_rows, b->wide_rows, false, one, true, 1, 0);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `columns`: of the weight, F or 2F; every multiplication of a row costs 2 D columns operations. */
static void measure(bench *b, const char *name, void (*run)(bench *), int64_t rows, int64_t columns)
{
    for (int i = 0; i < WARM_UP; i++)
        run(b);
    beam_sync(&b->be);
    const double start = now();
    for (int i = 0; i < REPEATS; i++)
        run(b);
    if (beam_sync(&b->be) != BEAM_OK)
        return;
    const double seconds = (now() - start) / REPEATS;
    const double work = 2.0 * (double)rows * (double)b->hidden * (double)columns;
    printf("%-46s %9.3f ms %8.1f TFLOP/s\n", name, 1e3 * seconds, 1e-12 * work / seconds);
    fflush(stdout);
}

static void open_tensors(bench *b)
{
    const int64_t rows = b->rows, D = b->hidden, F = b->width, E = b->experts;
    b->x = make(b, BEAM_BF16, 2, (int64_t[]){b->tokens, D});
    b->wide_rows = make(b, BEAM_BF16, 2, (int64_t[]){rows, D});
    b->narrow_rows = make(b, BEAM_BF16, 2, (int64_t[]){rows, F});
    b->middle_rows = make(b, BEAM_BF16, 2, (int64_t[]){rows, 2 * F});
    b->up = make(b, BEAM_BF16, 3, (int64_t[]){E, 2 * F, D});
    b->down = make(b, BEAM_BF16, 3, (int64_t[]){E, D, F});
    b->dup = make(b, BEAM_F32, 3, (int64_t[]){E, 2 * F, D});
    const beam_tensor filled[] = {b->x, b->wide_rows, b->narrow_rows, b->middle_rows, b->up, b->down};
    for (size_t i = 0; i < sizeof filled / sizeof filled[0]; i++)
        fill(b, filled[i]);
    if (b->dup.data)
        beam_zero(&b->be, b->dup);
    fill_route(b);
}

static void close_tensors(bench *b)
{
    const beam_route *r = &b->route;
    const beam_tensor all[] = {b->x,    b->wide_rows, b->narrow_rows, b->middle_rows, b->up,
                               b->down, b->dup,       r->expert,      r->keep,        r->row,
                               r->pair, r->first,     r->kept};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        beam_free(&b->be, all[i].data);
}

/* With `blas`, everything; without, the dense product alone, by beam's own tiles. */
static int run(bench b, bool blas)
{
    setenv("BEAM_CUDA_BLAS", blas ? "1" : "0", 1);
    if (beam_backend_cuda(&b.be, 0, BEAM_BF16) != BEAM_OK) {
        fprintf(stderr, "%s\n", beam_last_error());
        return 1;
    }
    b.rows = b.tokens * b.candidates;
    open_tensors(&b);
    const int64_t F = b.width;
    if (blas && !b.be.status) {
        printf("%lld rows of %lld experts, of which %lld are kept\n", (long long)b.rows, (long long)b.experts,
               (long long)b.kept);
        measure(&b, "dense product of all rows, cuBLASLt", dense, b.rows, 2 * F);
        measure(&b, "forward, gate and up", up_all, b.rows, 2 * F);
        measure(&b, "forward, gate and up, of tokens, with SwiGLU", hidden_fused, b.rows, 2 * F);
        measure(&b, "the same, gather and SwiGLU apart", hidden_apart, b.rows, 2 * F);
        measure(&b, "forward, down", down_all, b.rows, F);
        measure(&b, "backward, down", down_grad_all, b.rows, F);
        measure(&b, "backward, gate and up", up_grad_all, b.rows, 2 * F);
        measure(&b, "backward, weight of gate and up", up_wgrad_all, b.rows, 2 * F);
        measure(&b, "backward, down, kept rows", down_grad_kept, b.kept, F);
        measure(&b, "backward, gate and up, kept rows", up_grad_kept, b.kept, 2 * F);
        measure(&b, "backward, weight of gate and up, kept rows", up_wgrad_kept, b.kept, 2 * F);
    } else {
        measure(&b, "dense product of all rows, beam's tiles", dense, b.rows, 2 * F);
    }
    close_tensors(&b);
    const beam_status status = beam_sync(&b.be);
    if (status != BEAM_OK)
        fprintf(stderr, "%s\n", beam_last_error());
    beam_backend_close(&b.be);
    return status != BEAM_OK;
}

int main(int argc, char **argv)
{
    bench b = {.tokens = 16384, .hidden = 2048, .width = 768, .experts = 128, .candidates = 8};
    int64_t *const size[] = {&b.tokens, &b.hidden, &b.width, &b.experts, &b.candidates};
    for (int i = 0; i < 5 && i + 1 < argc; i++)
        *size[i] = strtoll(argv[i + 1], NULL, 10);
    for (int i = 0; i < 5; i++)
        if (*size[i] < 1 || b.candidates > b.experts) {
            fprintf(stderr, "usage: bench_grouped [T D F E K], all above 0, K not above E\n");
            return 64;
        }
    if (beam_cuda_devices(NULL, 0) == 0) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    return run(b, true) || run(b, false);
}
