/* Whole training runs in a temporary folder: a small random model on a small token file. */
#ifndef BEAM_TESTS_TRAIN_TINY_RUN_H
#define BEAM_TESTS_TRAIN_TINY_RUN_H

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "train/run.h"

/* Group fixture: the scratch folder with config.json and tokens.h5 in it. */
int tiny_run_open(void **state);

/* The configuration of a run into scratch folder `name`: masks on a random base, 8 steps, two micro-batches
 * each. Overrides are "key=value", the last is NULL. */
beam_config tiny_run_config(const char *name, const char *const overrides[]);

/* beam_train in this process alone. */
beam_status tiny_run(const beam_config *c, int64_t stop_after);

/* The same, with the message printed when the status is not the expected one. */
void tiny_run_expect(const beam_config *c, int64_t stop_after, beam_status expected);

/* Both runs ended in the same state: every array of the newest checkpoints bit for bit, the scalars, and the
 * lines of metrics.jsonl apart from times. */
void tiny_run_same(const beam_config *a, const beam_config *b);

/* A number of the last metrics line of a step that holds `key`. */
double tiny_run_metric(const beam_config *c, const char *key);

#endif
