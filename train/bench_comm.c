#include "train/bench_comm.h"

#include <stdlib.h>

#include "comm/sum.h"
#include "core/clock.h"

double beam_bench_comm_least(int64_t bytes, int64_t ranks)
{
    return 2.0 * (double)(ranks - 1) / (double)ranks * (double)bytes;
}

typedef struct {
    double sum, gather, sent;
} times;

typedef struct {
    beam_comm *comm;
    beam_sum sum;
    beam_tensor grads; /* f32 [n] */
    float *host;       /* [n] */
    times *all;        /* [size] of one step */
    bool open;
} bench;

/* What every element of rank r's gradients is; these sums are exact. */
static float term(int rank)
{
    return (float)(rank + 1);
}

static void close_bench(bench *b)
{
    if (b->open)
        beam_sum_close(&b->sum);
    beam_free(b->comm->be, b->grads.data);
    free(b->host);
    free(b->all);
}

static beam_status open_bench(bench *b, beam_comm *c, int64_t n)
{
    *b = (bench){.comm = c};
    b->host = malloc((size_t)n * sizeof *b->host);
    b->all = malloc((size_t)c->size * sizeof *b->all);
    if (!b->host || !b->all)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for gradients of %lld numbers", (long long)n);
    void *block = beam_alloc(c->be, (size_t)n * sizeof(float), "gradients");
    BEAM_TRY(c->be->status);
    b->grads = beam_view(block, BEAM_F32, BEAM_DIMS(n));
    BEAM_TRY(beam_sum_open(&b->sum, c, c->be, b->grads, 1));
    b->open = true;
    return BEAM_OK;
}

static void fill(bench *b)
{
    for (int64_t i = 0; i < beam_count(b->grads); i++)
        b->host[i] = term(b->comm->rank);
    beam_upload(b->comm->be, b->grads, b->host);
}

static beam_status check(bench *b)
{
    float right = 0;
    for (int r = 0; r < b->comm->size; r++)
        right += term(r);
    beam_download(b->comm->be, b->host, b->grads);
    BEAM_TRY(beam_sync(b->comm->be));
    for (int64_t i = 0; i < beam_count(b->grads); i++)
        if (!(b->host[i] == right))
            return BEAM_FAIL(BEAM_ECOMM,
                             "element %lld of the sum is %g instead of %g: data do not arrive as sent",
                             (long long)i, (double)b->host[i], (double)right);
    return BEAM_OK;
}

/* The processor is busy for so long, as in a backward pass: nothing but beam_sum_final moves data along. */
static void compute_until(double end)
{
    while (beam_seconds() < end)
        continue;
}

static void backward(bench *b, const beam_bench_comm_options *o, double start)
{
    const int64_t n = beam_count(b->grads);
    for (int i = 1; i <= o->pieces; i++) {
        compute_until(start + o->backward * i / o->pieces);
        beam_sum_final(&b->sum, n - n * i / o->pieces);
    }
}

/* One step of this rank; all begin together. */
static beam_status step(bench *b, const beam_bench_comm_options *o, times *t)
{
    beam_comm *c = b->comm;
    double ready = 0;
    fill(b);
    BEAM_TRY(beam_comm_sum(c, &ready, 1));
    const int64_t sent = c->sent;
    const double start = beam_seconds();
    backward(b, o, start);
    beam_sum_finish(&b->sum);
    beam_sync(c->be);
    const double summed = beam_seconds();
    beam_sum_gather(&b->sum, b->grads);
    beam_sync(c->be);
    const times mine = {.sum = summed - start - o->backward,
                        .gather = beam_seconds() - summed,
                        .sent = (double)(c->sent - sent)};
    BEAM_TRY(beam_comm_verdict(c, c->be->status));
    beam_comm_host_gather(c, &mine, b->all, sizeof mine);
    *t = mine;
    for (int r = 0; r < c->size && !c->status; r++) {
        t->sum = b->all[r].sum > t->sum ? b->all[r].sum : t->sum;
        t->gather = b->all[r].gather > t->gather ? b->all[r].gather : t->gather;
        t->sent = b->all[r].sent > t->sent ? b->all[r].sent : t->sent;
    }
    return c->status;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static beam_status time_steps(bench *b, const beam_bench_comm_options *o, beam_bench_comm_result *out)
{
    double sum[BEAM_BENCH_STEPS], gather[BEAM_BENCH_STEPS];
    times t = {0};
    for (int i = -1; i < o->steps; i++) {
        BEAM_TRY(step(b, o, &t));
        if (i < 0)
            continue;
        sum[i] = t.sum;
        gather[i] = t.gather;
    }
    qsort(sum, (size_t)o->steps, sizeof *sum, by_size);
    qsort(gather, (size_t)o->steps, sizeof *gather, by_size);
    *out = (beam_bench_comm_result){
        .sum = sum[o->steps / 2], .gather = gather[o->steps / 2], .sent = (int64_t)t.sent};
    return BEAM_OK;
}

beam_status beam_bench_comm(beam_comm *c, const beam_bench_comm_options *o, beam_bench_comm_result *out)
{
    bench b;
    BEAM_ASSERT(c->be && o->elements > 0 && o->pieces > 0 && o->steps > 0 && o->steps <= BEAM_BENCH_STEPS);
    beam_status s = beam_comm_verdict(c, open_bench(&b, c, o->elements));
    if (!s)
        s = time_steps(&b, o, out);
    if (!s)
        s = beam_comm_verdict(c, check(&b));
    close_bench(&b);
    return s;
}
