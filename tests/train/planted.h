/* A random model one of whose experts puts out a thousand times more than it would: a planted super expert.
 */
#ifndef BEAM_TESTS_TRAIN_PLANTED_H
#define BEAM_TESTS_TRAIN_PLANTED_H

#include "data/loader.h"
#include "model/model.h"

enum { PLANTED_LAYER = 1, PLANTED_EXPERT = 4 };

/* Stops the test with the message unless the status is good. */
void planted_need(beam_status status);

/* The parameter of that name. */
const beam_param *planted_param(beam_model *m, const char *name);

/* The random model of tiny_run's config.json, with nothing planted, for `tokens` at a time. */
beam_model *planted_open(beam_backend *be, int64_t tokens);

/* Makes what that expert puts out a thousand times larger. */
void planted_grow(beam_model *m);

/* tiny_run's tokens in order, two rows of 32 at a time. */
beam_loader *planted_tokens(void);

#endif
