/* A small model twice on every rank: whole, and with its experts spread over ranks. */
#ifndef BEAM_TESTS_MODEL_SPREAD_MODEL_H
#define BEAM_TESTS_MODEL_SPREAD_MODEL_H

#include "model/tiny_model.h"

typedef struct {
    beam_comm comm;
    beam_backend be;
} spread_job; /* of this process; the state of every test */

/* Group setup and teardown of cmocka. */
int spread_join(void **state);
int spread_leave(void **state);

/* How many ranks shall share the experts: number i of the choices that this job has, 0 behind the last. */
int spread_ranks(const spread_job *job, int i);

/* Two layers, E = 8, K = 2: two experts per rank of four. */
beam_model_config spread_config(void);

/* Tokens of this rank's own; every other rank has fewer than the rest if `uneven`. */
void spread_batch(const spread_job *job, bool uneven, tiny_batch *b);

/* A model over `ranks` ranks, uninitialised; 1: whole. Fails the test if it cannot. */
beam_model *spread_open(spread_job *job, const beam_model_config *c, const beam_model_options *options,
                        int ranks);

/* This rank's share of a parameter of the whole model. */
beam_tensor spread_share(const beam_model_config *c, beam_tensor whole);

/* All parameters of `whole` into the spread model. */
void spread_copy(beam_model *spread, beam_model *whole);

/* Sum over ranks, for numbers that need no order. */
double spread_sum(spread_job *job, double x);

#endif
