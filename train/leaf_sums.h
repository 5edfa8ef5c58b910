/* Numbers that add up over a step's micro-batches on the host: losses and statistics. They add up in the
 * order of the gradients (comm/tree.h, which adds tensors of a backend), so that a step's numbers have the
 * same bits however its micro-batches are spread over ranks. */
#ifndef BEAM_TRAIN_LEAF_SUMS_H
#define BEAM_TRAIN_LEAF_SUMS_H

#include "comm/tree.h"

typedef struct {
    double *partial; /* [levels][n] partial[l]: a finished subtree of 2^l leaves */
    int64_t n;       /* numbers of a leaf */
    int64_t leaves, done;
} beam_leaf_sums;

/* For sums of `leaves` (at least 1) times n numbers. On failure nothing is left to free. */
beam_status beam_leaf_sums_open(beam_leaf_sums *s, int64_t n, int64_t leaves);
void beam_leaf_sums_close(beam_leaf_sums *s);

/* Takes the next leaf, x[n]. After the last one x holds the sum, and the tree starts anew; before it what x
 * holds is of no use. */
void beam_leaf_sums_push(beam_leaf_sums *s, double *x);

#endif
