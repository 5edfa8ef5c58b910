/* Timing decoding beside what the machine's memory could do. */
#ifndef BEAM_SERVE_DECODE_BENCH_H
#define BEAM_SERVE_DECODE_BENCH_H

#include "serve/decoder.h"

/* The best speed at which all threads together, or the GPU, read the weights, front to back, in half a second
 * or twice: bytes per second. At most 1 GB of them is read. */
double beam_bench_read(const beam_model_weights *w, beam_backend *be);

/* A GPU records a step when it comes again: the second one to warm up. */
enum { BEAM_BENCH_MOST_STEPS = 64, BEAM_BENCH_WARM_UP = 2 };

typedef struct {
    const beam_model_config *config;
    const beam_model_weights *weights;
    const beam_expert_rule *rule; /* [rules] to compare, in turn (on a GPU one after the other) */
    int rules;
    int64_t batch;   /* sequences, one token each per step */
    int64_t context; /* tokens that they have already */
    int steps;       /* timed ones of each rule, after those to warm up */
} beam_decode_bench_options;

/* Medians over the steps of a rule; counts are means. What is about mixture layers alone is NaN on a GPU. */
typedef struct {
    double seconds, moe_seconds;         /* of a step; its logits are on the host then */
    double bytes_per_s, moe_bytes_per_s; /* weights and cache that a step had to read, by time */
    double active;                       /* kept experts per token and mixture layer */
    double distinct;                     /* different ones per mixture layer */
} beam_decode_bench_result;

/* Random tokens. out[rules]. */
beam_status beam_decode_bench(const beam_decode_bench_options *options, beam_backend *be,
                              beam_decode_bench_result *out);

#endif
