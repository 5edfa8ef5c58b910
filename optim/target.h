/* The controller that holds the mean number of kept experts (Avg-K) at a target by moving the penalty beta:
 * dual ascent, beta <- max(0, beta + rate * (average - goal) / K), where `average` is a moving average of
 * Avg-K and `goal` falls linearly from K to the target over the warm-up. */
#ifndef BEAM_OPTIM_TARGET_H
#define BEAM_OPTIM_TARGET_H

#include <stdint.h>

typedef struct {
    double target, rate, k;
    int64_t warmup; /* steps */
} beam_target;

/* State to keep in a checkpoint. */
typedef struct {
    double penalty;        /* beta */
    double average_active; /* moving average; < 0 before the first step */
} beam_target_state;

/* After step `step` (counted from 1) measured `active` kept experts per token and layer. */
void beam_target_update(const beam_target *t, beam_target_state *s, int64_t step, double active);

#endif
