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

#endif
