/* Timing a training step beside what the machine could do. */
#ifndef BEAM_TRAIN_BENCH_H
#define BEAM_TRAIN_BENCH_H

#include "model/model.h"

/* The best speed of a large single-precision (or double, by the backend) matrix product in half a second:
 * FLOP/s. */
beam_status beam_bench_gemm(beam_backend *be, double *flops);

enum { BEAM_BENCH_MOST_STEPS = 64 };

typedef struct {
    const beam_model_config *config; /* with mask gates that have terms for every rank */
    beam_scope scope;
    int64_t rows, sequence; /* of a micro-batch */
    int active;             /* candidates every token keeps: the gates are set so */
    int steps;              /* timed; one more warms up */
    bool checkpointing;
} beam_bench_options;

typedef struct {
    double forward, backward, update; /* seconds, medians */
    double tokens_per_s;              /* of the whole step */
    double flops_per_s;               /* counted by beam_flops_of, or beam_flops_of_mixture */
    double loss;
} beam_bench_result;

/* A model of random numbers on random tokens: forward, backward and AdamW. */
beam_status beam_bench_train(const beam_bench_options *options, beam_backend *be, beam_bench_result *out);

/* One mixture layer of that model alone: router, gates, experts, forward, and backward down to its input, as
 * in the middle of a model. No update and no loss. */
beam_status beam_bench_layer(const beam_bench_options *options, beam_backend *be, beam_bench_result *out);

/* For both. Gates of zeros but for rank_bias [K], so that the `active` best candidates of a token are kept;
 * and the median of x[n], which is sorted. */
beam_status beam_bench_set_gates(beam_backend *be, const beam_param *rank_bias, int active);
double beam_bench_median(double *x, int n);

#endif
