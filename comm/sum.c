#include "comm/sum.h"

#include <stdlib.h>

enum {
    BUCKETS = 16,           /* that a block is cut into, unless they would be smaller or larger than these: */
    BUCKET_LEAST = 1 << 12, /* elements */
    BUCKET_MOST = 1 << 22,
    BUCKET_STEP = BEAM_UNITS * 16, /* full buckets have equal units of whole cache lines */
};

static int64_t bucket_size(int64_t n)
{
    const int64_t share = (n + BUCKETS - 1) / BUCKETS;
    if (share <= BUCKET_LEAST)
        return BUCKET_LEAST;
    if (share >= BUCKET_MOST)
        return BUCKET_MOST;
    return (share + BUCKET_STEP - 1) / BUCKET_STEP * BUCKET_STEP;
}

static beam_span bucket_at(const beam_sum *s, int b)
{
    const int64_t end = beam_count(s->grads) - b * s->bucket;
    const int64_t first = end > s->bucket ? end - s->bucket : 0;
    return (beam_span){.first = first, .n = end - first};
}

/* Where unit u begins, relative to its bucket of n elements. */
static int64_t unit_start(int64_t n, int u)
{
    return n * u / BEAM_UNITS;
}

/* The span that a rank owns of a bucket of n elements, relative to it. */
static beam_span share_of(const beam_comm *c, int64_t n, int rank)
{
    const int64_t first = unit_start(n, (int)((int64_t)BEAM_UNITS * rank / c->size));
    const int64_t end = unit_start(n, (int)((int64_t)BEAM_UNITS * (rank + 1) / c->size));
    return (beam_span){.first = first, .n = end - first};
}

beam_span beam_sum_unit(const beam_sum *s, int b, int u)
{
    BEAM_ASSERT(b >= 0 && b < s->buckets && u >= 0 && u < BEAM_UNITS);
    const beam_span bucket = bucket_at(s, b);
    const int64_t first = unit_start(bucket.n, u);
    return (beam_span){.first = bucket.first + first, .n = unit_start(bucket.n, u + 1) - first};
}

beam_span beam_sum_own(const beam_sum *s, int b)
{
    BEAM_ASSERT(b >= 0 && b < s->buckets);
    const beam_span bucket = bucket_at(s, b), own = share_of(s->comm, bucket.n, s->comm->rank);
    return (beam_span){.first = bucket.first + own.first, .n = own.n};
}

/* Bytes of one slot's parts of n elements each. */
static size_t slot_bytes(const beam_comm *c, beam_dtype type, int64_t n)
{
    const size_t bytes = (size_t)n * (size_t)c->size * beam_dtype_size(type);
    return (bytes + BEAM_ALIGN - 1) / BEAM_ALIGN * BEAM_ALIGN;
}

/* The largest part of this rank: that of a full bucket, or of the only one. */
static int64_t largest_part(const beam_comm *c, int64_t n)
{
    const int64_t bucket = bucket_size(n);
    return share_of(c, n < bucket ? n : bucket, c->rank).n;
}

size_t beam_sum_bytes(const beam_comm *c, beam_tensor grads)
{
    const int64_t n = beam_count(grads);
    return c->size == 1 ? 0 : BEAM_SUM_SLOTS * slot_bytes(c, grads.dtype, largest_part(c, n));
}

int64_t beam_sum_share(const beam_comm *c, int64_t n)
{
    const int64_t bucket = bucket_size(n);
    return n / bucket * share_of(c, bucket, c->rank).n + share_of(c, n % bucket, c->rank).n;
}

beam_status beam_sum_open(beam_sum *s, beam_comm *c, beam_backend *be, beam_tensor grads, int64_t leaves)
{
    const int64_t n = beam_count(grads);
    BEAM_ASSERT(grads.ndim == 1 && (n == 0 || grads.dtype == be->wide));
    *s = (beam_sum){.comm = c, .be = be, .grads = grads, .bucket = bucket_size(n)};
    s->buckets = (int)((n + s->bucket - 1) / s->bucket);
    if (n == 0)
        return BEAM_OK;
    BEAM_TRY(beam_tree_open(&s->tree, grads, leaves, be));
    if (c->size == 1)
        return BEAM_OK;
    beam_status status = BEAM_OK;
    s->bytes = beam_sum_bytes(c, grads);
    s->received = beam_alloc(be, s->bytes, "the gradients of other ranks");
    s->count = malloc(2 * (size_t)c->size * sizeof *s->count);
    if (be->status)
        status = be->status;
    else if (!s->count)
        status = BEAM_FAIL(BEAM_ENOMEM, "no memory to count the parts of %d ranks", c->size);
    if (status)
        beam_sum_close(s);
    return status;
}

void beam_sum_close(beam_sum *s)
{
    if (s->be) {
        beam_tree_close(&s->tree, s->be);
        beam_free(s->be, s->received);
    }
    free(s->count);
    *s = (beam_sum){0};
}

void beam_sum_push(beam_sum *s)
{
    if (s->buckets == 0)
        return;
    BEAM_ASSERT(s->tree.done + 1 < s->tree.leaves && s->started == 0);
    beam_tree_push(&s->tree, s->be);
}

/* The received parts [size, n] of a bucket's own span. */
static beam_tensor parts_of(const beam_sum *s, int b)
{
    const size_t slot = s->bytes / BEAM_SUM_SLOTS * (size_t)(b % BEAM_SUM_SLOTS);
    return beam_view((char *)s->received + slot, s->grads.dtype,
                     BEAM_DIMS(s->comm->size, beam_sum_own(s, b).n));
}

/* The elements of a bucket that each rank owns. */
static void count_shares(const beam_sum *s, int b)
{
    for (int r = 0; r < s->comm->size; r++)
        s->count[r] = share_of(s->comm, bucket_at(s, b).n, r).n;
}

static void start_bucket(beam_sum *s, int b)
{
    const beam_span bucket = bucket_at(s, b);
    beam_tree_join(&s->tree, s->be, bucket.first, bucket.n);
    if (s->comm->size == 1)
        return;
    int64_t *mine = s->count + s->comm->size;
    count_shares(s, b);
    for (int r = 0; r < s->comm->size; r++)
        mine[r] = beam_sum_own(s, b).n;
    const beam_exchange x = {.from = beam_rows(s->grads, bucket.first, bucket.n),
                             .to = parts_of(s, b),
                             .from_count = s->count,
                             .to_count = mine};
    beam_comm_start(s->comm, b % BEAM_SUM_SLOTS, &x);
}

static void finish_bucket(beam_sum *s, int b)
{
    if (s->comm->size == 1)
        return;
    const beam_span own = beam_sum_own(s, b);
    const beam_tensor parts = parts_of(s, b);
    beam_comm_finish(s->comm, b % BEAM_SUM_SLOTS);
    beam_tree_add_rows(s->be, parts);
    beam_copy(s->be, beam_rows(s->grads, own.first, own.n),
              beam_reshape(beam_rows(parts, 0, 1), 1, (const int64_t[]){own.n}));
}

void beam_sum_final(beam_sum *s, int64_t from)
{
    BEAM_ASSERT(from >= 0);
    for (; s->started < s->buckets && bucket_at(s, s->started).first >= from; s->started++) {
        if (s->started - s->finished == BEAM_SUM_SLOTS)
            finish_bucket(s, s->finished++);
        start_bucket(s, s->started);
    }
    beam_comm_progress(s->comm);
}

void beam_sum_finish(beam_sum *s)
{
    beam_sum_final(s, 0);
    while (s->finished < s->buckets)
        finish_bucket(s, s->finished++);
    s->started = s->finished = 0;
    beam_tree_restart(&s->tree);
}

void beam_sum_gather(beam_sum *s, beam_tensor block)
{
    BEAM_ASSERT(block.ndim == 1 && beam_count(block) == beam_count(s->grads));
    for (int b = 0; b < s->buckets && s->comm->size > 1; b++) {
        const beam_span bucket = bucket_at(s, b);
        count_shares(s, b);
        beam_comm_all_gather(s->comm, beam_rows(block, bucket.first, bucket.n), s->count);
    }
}
