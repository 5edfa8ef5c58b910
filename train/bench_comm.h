/* Timing what a training step sends between ranks: the sum of the gradients and the gathering of the updated
 * parameters (comm/sum.h), on a block of any size, without a model. */
#ifndef BEAM_TRAIN_BENCH_COMM_H
#define BEAM_TRAIN_BENCH_COMM_H

#include "comm/comm.h"

enum { BEAM_BENCH_STEPS = 64 };

typedef struct {
    int64_t elements; /* real numbers in the block of gradients */
    int pieces;       /* in which backward passes make gradients final, as a model does layer by layer */
    double backward;  /* seconds that they take; 0: everything is final at once */
    int steps;        /* timed, at most BEAM_BENCH_STEPS; one more warms up */
} beam_bench_comm_options;

/* Seconds are medians over the steps, each of the slowest rank. */
typedef struct {
    double sum;    /* beyond the backward pass: what of the sum is not hidden behind it */
    double gather; /* of a block as large as the gradients */
    int64_t sent;  /* bytes per step, of the rank that sent most */
} beam_bench_comm_result;

/* BEAM_ECOMM if a sum is not what it must be. Collective; `c` is attached to a backend. */
beam_status beam_bench_comm(beam_comm *c, const beam_bench_comm_options *options,
                            beam_bench_comm_result *out);

/* Bytes that a rank of `ranks` must send at least, whatever the algorithm, so that all have the sum of blocks
 * of this many bytes: 2 (N - 1) / N of them. */
double beam_bench_comm_least(int64_t bytes, int64_t ranks);

#endif
