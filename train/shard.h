/* Which parts of the block of all that trains are this rank's work. */
#ifndef BEAM_TRAIN_SHARD_H
#define BEAM_TRAIN_SHARD_H

#include "comm/sum.h"

typedef struct {
    beam_span
        *own; /* [n_own] what this rank updates: from the front of the block on, none touching the next */
    int n_own;
    beam_span *unit; /* [units] every unit of the block in an order that all ranks share; those of other ranks
                        are empty here */
    int64_t units;
} beam_shard;

/* On failure nothing is left to free. */
beam_status beam_shard_open(beam_shard *s, const beam_sum *sum);
void beam_shard_close(beam_shard *s);

#endif
