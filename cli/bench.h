/* What the modes of beam bench share. */
#ifndef BEAM_CLI_BENCH_H
#define BEAM_CLI_BENCH_H

#include "model/weights.h"

/* The shape of the model of this name (a folder or random:<config.json>; NULL: a small one of its own), with
 * mask gates. */
beam_status beam_bench_shape(const char *model, beam_model_config *out);

/* beam bench comm; argv[0] is "comm". */
beam_status beam_bench_ranks(int argc, char **argv);

/* beam bench decode; argv[0] is "decode". */
beam_status beam_bench_decode(int argc, char **argv);

/* beam bench batch; argv[0] is "batch". */
beam_status beam_bench_batch(int argc, char **argv);

enum { BEAM_BENCH_MOST_BATCHES = 8 };

/* "1,4,16,64" of --batch: batch[BEAM_BENCH_MOST_BATCHES]. BEAM_ECONFIG. */
beam_status beam_bench_batches(const char *text, int64_t *batch, int *n);

#endif
