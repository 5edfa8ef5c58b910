/* The controller that holds the mean number of kept experts (Avg-K) at a target by moving the penalty beta.
 *
 *     error_t = (average_t - goal_t) / K
 *     beta   <- max(0, beta + rate * (error_t + DAMPING * (error_t - error_(t-1))))
 *
 * `average` is a moving average of Avg-K, `goal` falls linearly from K to the target over the warm-up. The
 * first term is dual ascent. Masks integrate the penalty over many steps, and two integrators in a row swing:
 * the second term, which answers how fast the error changes, damps them. */
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
