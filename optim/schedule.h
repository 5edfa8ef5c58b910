/* Learning rate as a function of the step alone. */
#ifndef BEAM_OPTIM_SCHEDULE_H
#define BEAM_OPTIM_SCHEDULE_H

#include <stdint.h>

typedef enum { BEAM_DECAY_CONSTANT, BEAM_DECAY_LINEAR, BEAM_DECAY_COSINE } beam_decay_kind;

typedef struct {
    beam_decay_kind kind;
    double peak, min_ratio; /* the rate ends at peak * min_ratio */
    int64_t warmup, total;  /* steps */
} beam_schedule;

/* The rate of update number `step`, counted from 1: linear from 0 to the peak over `warmup` steps, then the
 * decay. */
double beam_learning_rate(const beam_schedule *s, int64_t step);

#endif
