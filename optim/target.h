/* The controller that holds the mean number of kept experts (Avg-K) at a target by moving the penalty beta.
 *
 *     error = log(average / goal)
 *     base <- max(0, base + rate * error)                  after every step beyond the warm-up: dual ascent
 *     beta  = base + rate * DAMPING * error
 *
 * `average` is a moving average of Avg-K over a few steps; the logarithm makes 1 of 8 as strict as 4 of 8.
 * `goal` falls smoothly from K to the target over the warm-up. Dual ascent alone swings, because masks add up
 * the penalty over many steps just as `base` adds up the error; the part of beta that is proportional to the
 * error damps it. During the warm-up beta is at least 0. After it, below the target, beta may turn negative
 * and open masks again: the task alone reopens them far more slowly than a penalty closes them.
 *
 * Gates learn at the pace of the learning rate, whatever beta is, so a far target or a rate near its end
 * leave an error. The last steps of a run take it away:
 *
 *     bias of every gate -= log(average / target)      in the last seventh of the steps
 *
 * which moves all mask logits alike, while the gates still learn which experts are worth it. */
#ifndef BEAM_OPTIM_TARGET_H
#define BEAM_OPTIM_TARGET_H

#include <stdint.h>

typedef struct {
    double target, rate, k;
    int64_t warmup, total; /* steps */
} beam_target;

/* State to keep in a checkpoint; starts as {0, -1}. */
typedef struct {
    double base;           /* the part of beta that remembers */
    double average_active; /* moving average of Avg-K; < 0 before the first step */
} beam_target_state;

/* beta for the step that follows `step` finished ones. */
double beam_target_penalty(const beam_target *t, const beam_target_state *s, int64_t step);

/* After step `step` (counted from 1) measured `active` kept experts per token and layer. */
void beam_target_update(const beam_target *t, beam_target_state *s, int64_t step, double active);

/* What to add to the bias of every gate after step `step` (counted from 1) and its update; 0 before the last
 * seventh. */
double beam_target_offset(const beam_target *t, const beam_target_state *s, int64_t step);

#endif
