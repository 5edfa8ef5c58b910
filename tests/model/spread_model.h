/* A small model twice on every rank: whole, and with its experts spread over ranks. */
#ifndef BEAM_TESTS_MODEL_SPREAD_MODEL_H
#define BEAM_TESTS_MODEL_SPREAD_MODEL_H

#include "comm/ranks.h"
#include "model/tiny_model.h"

/* How many ranks shall share the experts: number i of the choices that this job has, 0 behind the last. */
int spread_ranks(const test_ranks *job, int i);

/* Two layers, E = 8, K = 2: two experts per rank of four. */
beam_model_config spread_config(void);

/* Tokens of this rank's own; every other rank has fewer than the rest if `uneven`. */
void spread_batch(const test_ranks *job, bool uneven, tiny_batch *b);

/* A model over `ranks` ranks, uninitialised; 1: whole. Fails the test if it cannot. */
beam_model *spread_open(test_ranks *job, const beam_model_config *c, const beam_model_options *options,
                        int ranks);

/* This rank's share of a parameter of the whole model. */
beam_tensor spread_share(const beam_model_config *c, beam_tensor whole);

/* All parameters of `whole` into the spread model. */
void spread_copy(beam_model *spread, beam_model *whole);

/* Sum over ranks, for numbers that need no order. */
double spread_sum(test_ranks *job, double x);

#endif
