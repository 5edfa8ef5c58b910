/* The gradients of a step, added over its micro-batches ("leaves") and over ranks as one fixed tree, bucket
 * by bucket while the last backward pass still runs.
 *
 *     for each micro-batch but the last:  backward;  beam_sum_push(&s);
 *     the last:                           backward, which calls beam_sum_final(&s, from) on its way
 *     beam_sum_finish(&s);                this rank's own spans of `grads` hold sums over everything
 *     ... update the own spans of another block of the same layout (the parameters) ...
 *     beam_sum_gather(&s, parameters);    now all ranks hold all of it
 *
 * This is an all-reduce cut in two with the optimizer in between (ZeRO-1, Rajbhandari et al. 2020,
 * arXiv:1910.02054): every rank keeps moments for its own spans only, and no more bytes move than for an
 * all-reduce.
 *
 * Each rank's leaves stand side by side in the step's order: rank r has leaves [r L, (r + 1) L) of N L. The
 * owner of a span receives the N partial sums and adds them in the order in which one rank would
 * (comm/tree.h), so for L a power of two the result has the same bits at any N that gives the same N L.
 *
 * The block is cut from its end into buckets of one size, and each bucket into BEAM_UNITS units. Rank r
 * owns units [BEAM_UNITS r / N, BEAM_UNITS (r + 1) / N) of every bucket. Both cuts depend on the block alone,
 * so what is computed per unit does not depend on N either. */
#ifndef BEAM_COMM_SUM_H
#define BEAM_COMM_SUM_H

#include "comm/comm.h"
#include "comm/tree.h"
#include "core/span.h"

enum { BEAM_UNITS = 64 };

typedef struct {
    beam_comm *comm;
    beam_backend *be;
    beam_tensor grads;
    beam_tree tree; /* of this rank's leaves */
    int64_t bucket; /* elements of a bucket; the last one, at the front of the block, may be shorter */
    int buckets;    /* bucket b is what ends b * bucket elements before the end of the block */
    int started;    /* buckets whose exchange has begun in this step */
    int finished;   /* buckets whose own span holds the sum */
    void *received; /* device memory of the parts on their way, a place per slot; NULL for one rank */
    size_t bytes;   /* of `received` */
    int64_t *count; /* [2 size] elements for each rank, and of each, in an exchange */
} beam_sum;

/* Bytes that beam_sum_open would allocate beside the tree's, and elements of a block of n that this rank
 * would own. */
size_t beam_sum_bytes(const beam_comm *c, beam_tensor grads);
int64_t beam_sum_share(const beam_comm *c, int64_t n);

/* For `leaves` leaves per rank and step. `grads` wide [n] may be empty. On failure nothing is left to free.
 */
beam_status beam_sum_open(beam_sum *s, beam_comm *c, beam_backend *be, beam_tensor grads, int64_t leaves);
void beam_sum_close(beam_sum *s);

/* Takes a leaf that is not this rank's last; grads is zero afterwards. */
void beam_sum_push(beam_sum *s);

/* Within the last leaf: elements at and beyond `from` get no further gradient. Begins what can begin; never
 * waits for other ranks unless BEAM_SUM_SLOTS buckets are on their way. */
void beam_sum_final(beam_sum *s, int64_t from);

/* Ends the step (beam_sum_final(s, 0) is implied). Waits for the other ranks. */
void beam_sum_finish(beam_sum *s);

/* Completes a block of the layout of grads, of any dtype, whose own spans this rank has written. */
void beam_sum_gather(beam_sum *s, beam_tensor block);

/* Unit u (0 .. BEAM_UNITS - 1) of bucket b; it may be empty. And the span this rank owns of bucket b. */
beam_span beam_sum_unit(const beam_sum *s, int b, int u);
beam_span beam_sum_own(const beam_sum *s, int b);

#endif
