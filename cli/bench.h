/* `beam bench decode`, for cli/bench.c, which parses the options. */
#ifndef BEAM_CLI_BENCH_H
#define BEAM_CLI_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct {
    const char *model;   /* a folder or random:<config.json>; NULL: a shape of its own */
    const char *batches; /* "1,4,16,64" */
    double active;       /* Avg-K of the masks of random models */
    int64_t layers;      /* in place of the config's; 0: those */
    int64_t context, steps, threads;
    bool json;
} beam_bench_decode_options;

beam_status beam_bench_decode_verb(const beam_bench_decode_options *options);

#endif
