/* Gradient accumulation over micro-batches in a fixed binary tree: ((g0+g1)+(g2+g3))+... The shape depends on
 * the number of micro-batches alone, so power-of-two splits over ranks can give the same bits as one rank. */
#ifndef BEAM_COMM_TREE_H
#define BEAM_COMM_TREE_H

#include "kernels/ops.h"

enum { BEAM_TREE_LEVELS = 24 };

typedef struct {
    beam_tensor grads;                     /* where each leaf arrives and where the sum ends up */
    beam_tensor partial[BEAM_TREE_LEVELS]; /* partial[l]: a finished subtree of 2^l leaves */
    void *block;
    size_t bytes; /* of the block */
    int64_t leaves, done;
} beam_tree;

/* Finished subtrees that wait at most, of different sizes, while `leaves` (at least 1) are added. */
int beam_tree_levels(int64_t leaves);

/* Bytes that beam_tree_open would allocate; grads needs no memory. */
size_t beam_tree_bytes(beam_tensor grads, int64_t leaves);

/* For sums of `leaves` (1 .. 2^23) gradients that appear in `grads` one after the other. Holds as many copies
 * of the gradients as leaves - 1 has binary digits: none for a single leaf. */
beam_status beam_tree_open(beam_tree *t, beam_tensor grads, int64_t leaves, beam_backend *be);
void beam_tree_close(beam_tree *t, beam_backend *be);

/* Takes the leaf that stands in grads. Before the last leaf grads is zeroed for the next one; after it, grads
 * holds the sum, and the tree starts anew. */
void beam_tree_push(beam_tree *t, beam_backend *be);

/* The last leaf in pieces, while others are still being computed: grads[first, first + n) becomes the sum.
 * Every element once; then beam_tree_restart instead of the last push. */
void beam_tree_join(beam_tree *t, beam_backend *be, int64_t first, int64_t n);
void beam_tree_restart(beam_tree *t);

/* rows wide [N,n], the sums of N equal runs of leaves: row 0 becomes the sum of all rows in the tree's order,
 * the others are overwritten. For runs of a power of two leaves that is the sum that one tree over all of
 * them gives. */
void beam_tree_add_rows(beam_backend *be, beam_tensor rows);

#endif
