/* Data between all ranks at once, checked. */
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "train/survey.h"

enum { ROUNDS = 3 };

typedef struct {
    beam_tensor from, to; /* i32 [size * n] */
    int64_t *count;       /* [size]: n for each rank */
    int32_t *host;        /* [size * n] */
    double *times;        /* [size] */
    void *block;
} buffers;

/* Element i of what `from` sends to `to`: no two parts, and no two elements nearby, are alike. */
static int32_t expected(int from, int to, int64_t i)
{
    const uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)from * 40503u + (uint32_t)to * 9973u + 1;
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void close_buffers(beam_comm *c, buffers *b)
{
    beam_free(c->be, b->block);
    free(b->count);
    free(b->host);
    free(b->times);
}

static beam_status open_buffers(beam_comm *c, int64_t n, buffers *b)
{
    const int64_t all = n * c->size;
    *b = (buffers){0};
    b->count = malloc((size_t)c->size * sizeof *b->count);
    b->host = malloc((size_t)all * sizeof *b->host);
    b->times = malloc((size_t)c->size * sizeof *b->times);
    if (!b->count || !b->host || !b->times)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to exchange %lld MB", (long long)(4 * all / 1000000));
    const size_t bytes = (size_t)all * sizeof(int32_t);
    b->block = beam_alloc(c->be, 2 * bytes, "what ranks send one another");
    BEAM_TRY(c->be->status);
    b->from = beam_view(b->block, BEAM_I32, BEAM_DIMS(all));
    b->to = beam_view((char *)b->block + bytes, BEAM_I32, BEAM_DIMS(all));
    for (int r = 0; r < c->size; r++) {
        b->count[r] = n;
        for (int64_t i = 0; i < n; i++)
            b->host[r * n + i] = expected(c->rank, r, i);
    }
    beam_upload(c->be, b->from, b->host);
    beam_zero(c->be, b->to);
    return beam_sync(c->be);
}

static beam_status check(const beam_comm *c, const buffers *b, int64_t n)
{
    for (int r = 0; r < c->size; r++)
        for (int64_t i = 0; i < n; i++)
            if (b->host[r * n + i] != expected(r, c->rank, i))
                return BEAM_FAIL(
                    BEAM_ECOMM,
                    "element %lld of %lld from rank %d arrived with other bits than were sent: the "
                    "network or its driver is at fault; try BEAM_IB=off, or another interface",
                    (long long)i, (long long)n, r);
    return BEAM_OK;
}

/* The longest any rank took, counted from the moment the last one was there. */
static beam_status one_round(beam_comm *c, const buffers *b, double *seconds)
{
    double ready = 0;
    const beam_exchange x = {.from = b->from, .to = b->to, .from_count = b->count, .to_count = b->count};
    BEAM_TRY(beam_comm_sum(c, &ready, 1));
    const double start = beam_seconds();
    beam_comm_start(c, 0, &x);
    beam_comm_finish(c, 0);
    const double mine = beam_seconds() - start;
    beam_comm_host_gather(c, &mine, b->times, sizeof mine);
    BEAM_TRY(c->status);
    *seconds = 0;
    for (int r = 0; r < c->size; r++)
        *seconds = b->times[r] > *seconds ? b->times[r] : *seconds;
    return BEAM_OK;
}

beam_status beam_survey_exchange(beam_comm *c, int64_t bytes, double *seconds)
{
    const int64_t n = bytes / (int64_t)sizeof(int32_t);
    buffers b;
    BEAM_ASSERT(n > 0 && c->be);
    beam_status s = beam_comm_verdict(c, open_buffers(c, n, &b));
    for (int i = 0; i < ROUNDS && !s; i++) {
        double t = 0;
        s = one_round(c, &b, &t);
        *seconds = i == 0 || t < *seconds ? t : *seconds;
    }
    if (!s) {
        beam_download(c->be, b.host, b.to);
        s = beam_comm_verdict(c, beam_sync(c->be) ? c->be->status : check(c, &b, n));
    }
    close_buffers(c, &b);
    return s;
}
