/* Attention of a GPU by beam's own kernels and by cuDNN: how fast each is, whether they agree within what
 * bf16 allows, and whether each repeats its bits, at sizes where an unordered sum shows. Skipped (77) without
 * a GPU.
 *
 * bench_attention [T H G Dh Dv S]: tokens, heads of queries and of keys, widths of keys and of values,
 * sequences; 16384 32 4 128 128 4. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bf16.h"
#include "core/rng.h"
#include "kernels/cuda/devices.h"
#include "kernels/ops.h"

static const double tolerance = 2e-2; /* of the largest number, as in tests/ops/cases.c */

enum { WARM_UP = 3, TIMED = 10, REPEATS = 20, RESULTS = 4 };

typedef struct {
    int64_t tokens, heads, groups, width, value_width, sequences;
    beam_backend be;
    beam_tensor q, k, v, dout, first, lse;
    beam_tensor result[RESULTS]; /* out, dq, dk, dv */
} bench;

static const char *const result_name[RESULTS] = {"out", "dq", "dk", "dv"};

static beam_tensor make(bench *b, beam_dtype t, int ndim, const int64_t dim[])
{
    beam_tensor x = beam_view(NULL, t, ndim, dim);
    x.data = beam_alloc(&b->be, beam_bytes(x), "a benchmark's tensor");
    return x;
}

static beam_tensor make_random(bench *b, uint64_t stream, int64_t heads, int64_t width)
{
    const beam_tensor x = make(b, BEAM_BF16, 3, (int64_t[]){b->tokens, heads, width});
    uint16_t *host = malloc(beam_bytes(x));
    BEAM_ASSERT(host);
    for (int64_t i = 0; i < beam_count(x); i++)
        host[i] = beam_f32_to_bf16((float)beam_random_normal(1, stream, (uint64_t)i));
    beam_upload(&b->be, x, host);
    free(host);
    return x;
}

/* Each sequence is longer than the one before. */
static int64_t begin_of(const bench *b, int64_t i)
{
    return b->tokens * i * (i + 1) / (b->sequences * (b->sequences + 1));
}

static void open_tensors(bench *b)
{
    const int64_t T = b->tokens, H = b->heads, G = b->groups;
    b->q = make_random(b, 1, H, b->width);
    b->k = make_random(b, 2, G, b->width);
    b->v = make_random(b, 3, G, b->value_width);
    b->dout = make_random(b, 4, H, b->value_width);
    b->lse = make(b, BEAM_F32, 2, (int64_t[]){T, H});
    for (int i = 0; i < RESULTS; i++)
        b->result[i].data = beam_alloc(&b->be, beam_bytes(b->result[i]), "a benchmark's result");
    b->first = make(b, BEAM_I32, 1, (int64_t[]){b->sequences + 1});
    int32_t *first = malloc(beam_bytes(b->first));
    BEAM_ASSERT(first);
    for (int64_t i = 0; i <= b->sequences; i++)
        first[i] = (int32_t)begin_of(b, i);
    beam_upload(&b->be, b->first, first);
    beam_sync(&b->be);
    free(first);
}

static void close_tensors(bench *b)
{
    const beam_tensor all[] = {b->q, b->k, b->v, b->dout, b->first, b->lse};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        beam_free(&b->be, all[i].data);
    for (int i = 0; i < RESULTS; i++)
        beam_free(&b->be, b->result[i].data);
}

static beam_sequences sequences(const bench *b)
{
    return (beam_sequences){.first = b->first, .n = (int)b->sequences};
}

static beam_attention_rule rule(const bench *b)
{
    return (beam_attention_rule){.scale = 1 / sqrt((double)b->width)};
}

static void forward(bench *b)
{
    beam_attention(&b->be, b->result[0], b->lse, b->q, b->k, b->v, sequences(b), rule(b));
}

static void backward(bench *b)
{
    beam_attention_grad(&b->be, b->result[1], b->result[2], b->result[3], b->dout, b->result[0], b->lse, b->q,
                        b->k, b->v, sequences(b), rule(b));
}

/* Runs both passes and returns their results, one behind another. */
static uint16_t *pass(bench *b)
{
    size_t n = 0;
    for (int i = 0; i < RESULTS; i++)
        n += (size_t)beam_count(b->result[i]);
    uint16_t *all = malloc(n * sizeof *all), *next = all;
    BEAM_ASSERT(all);
    forward(b);
    backward(b);
    for (int i = 0; i < RESULTS; i++) {
        beam_download(&b->be, next, b->result[i]);
        next += beam_count(b->result[i]);
    }
    return all;
}

/* Whether every result has the same bits in both. */
static bool same(const bench *b, const uint16_t *x, const uint16_t *y, const char *by)
{
    bool all = true;
    for (int i = 0; i < RESULTS; i++) {
        const size_t n = (size_t)beam_count(b->result[i]);
        if (memcmp(x, y, n * sizeof *x) != 0) {
            printf("%s: %s does NOT repeat its bits\n", by, result_name[i]);
            all = false;
        }
        x += n;
        y += n;
    }
    return all;
}

static bool close_enough(const bench *b, const uint16_t *x, const uint16_t *y)
{
    bool all = true;
    for (int i = 0; i < RESULTS; i++) {
        double largest = 0, error = 0;
        for (int64_t j = 0; j < beam_count(b->result[i]); j++, x++, y++) {
            const double want = (double)beam_bf16_to_f32(*x),
                         apart = fabs((double)beam_bf16_to_f32(*y) - want);
            largest = fmax(largest, fabs(want));
            error = isnan(apart) ? INFINITY : fmax(error, apart);
        }
        const bool agree = error <= tolerance * largest;
        printf("%s: cuDNN is %.1e of the largest number away%s\n", result_name[i], error / largest,
               agree ? "" : ", which is TOO FAR");
        all = all && agree;
    }
    return all;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `work` of a pair of a query and a key, in multiplications of a number. */
static void measure(bench *b, const char *by, const char *name, void (*run)(bench *), int64_t work)
{
    double pairs = 0;
    for (int64_t i = 0; i < b->sequences; i++) {
        const double n = (double)(begin_of(b, i + 1) - begin_of(b, i));
        pairs += n * (n + 1) / 2 * (double)b->heads;
    }
    for (int i = 0; i < WARM_UP; i++)
        run(b);
    beam_sync(&b->be);
    const double start = now();
    for (int i = 0; i < TIMED; i++)
        run(b);
    if (beam_sync(&b->be) != BEAM_OK)
        return;
    const double seconds = (now() - start) / TIMED;
    printf("%s, %-10s %9.3f ms %8.1f TFLOP/s\n", by, name, 1e3 * seconds,
           2e-12 * pairs * (double)work / seconds);
}

/* The results of the first pass, or NULL. `fine` becomes false if they do not repeat. */
static uint16_t *run(bench b, const char *by, bool *fine)
{
    if (beam_backend_cuda(&b.be, 0, BEAM_BF16) != BEAM_OK) {
        fprintf(stderr, "%s\n", beam_last_error());
        return NULL;
    }
    open_tensors(&b);
    uint16_t *first = pass(&b);
    for (int i = 1; i < REPEATS && !b.be.status; i++) {
        uint16_t *again = pass(&b);
        *fine = same(&b, first, again, by) && *fine;
        free(again);
    }
    measure(&b, by, "forward", forward, b.width + b.value_width);
    measure(&b, by, "backward", backward, 3 * b.width + 2 * b.value_width);
    close_tensors(&b);
    if (beam_sync(&b.be) != BEAM_OK) {
        fprintf(stderr, "%s\n", beam_last_error());
        free(first);
        first = NULL;
    }
    beam_backend_close(&b.be);
    return first;
}

static int compare(bench *b)
{
    const int64_t T = b->tokens, H = b->heads, G = b->groups, Dh = b->width, Dv = b->value_width;
    bool fine = true;
    b->result[0] = beam_view(NULL, BEAM_BF16, 3, (int64_t[]){T, H, Dv});
    b->result[1] = beam_view(NULL, BEAM_BF16, 3, (int64_t[]){T, H, Dh});
    b->result[2] = beam_view(NULL, BEAM_BF16, 3, (int64_t[]){T, G, Dh});
    b->result[3] = beam_view(NULL, BEAM_BF16, 3, (int64_t[]){T, G, Dv});
    setenv("BEAM_CUDA_CUDNN", "0", 1);
    uint16_t *own = run(*b, "beam ", &fine);
    setenv("BEAM_CUDA_CUDNN", "1", 1);
    uint16_t *cudnn = own ? run(*b, "cuDNN", &fine) : NULL;
    fine = cudnn && close_enough(b, own, cudnn) && fine;
    free(own);
    free(cudnn);
    return fine ? 0 : 1;
}

int main(int argc, char **argv)
{
    bench b = {.tokens = 16384, .heads = 32, .groups = 4, .width = 128, .value_width = 128, .sequences = 4};
    int64_t *const size[] = {&b.tokens, &b.heads, &b.groups, &b.width, &b.value_width, &b.sequences};
    for (int i = 0; i < 6 && i + 1 < argc; i++)
        *size[i] = strtoll(argv[i + 1], NULL, 10);
    for (int i = 0; i < 6; i++)
        if (*size[i] < 1 || b.heads % b.groups != 0 || b.sequences > b.tokens) {
            fprintf(stderr,
                    "usage: bench_attention [T H G Dh Dv S], all above 0, G a divisor of H, S at most T\n");
            return 64;
        }
    if (beam_cuda_devices(NULL, 0) == 0) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    return compare(&b);
}
