#include "optim/target.h"

#include <math.h>
#include <stdbool.h>

enum {
    MEMORY = 3,   /* steps the moving average looks back */
    DAMPING = 20, /* steps of dual ascent that the proportional part is worth */
    SETTLE = 7,   /* the last 1/SETTLE of the steps move the gates' bias too */
};

/* Averages below this many experts count as this many, so that the logarithm of none is finite. */
static const double least_average = 1e-3;

static bool settles(const beam_target *t, int64_t step)
{
    return step > t->warmup && step > t->total - t->total / SETTLE;
}

static double log_ratio(double average, double goal)
{
    return log(fmax(average, least_average) / fmax(goal, least_average));
}

/* How far the average is above the goal of a step, as a logarithm. */
static double error_at(const beam_target *t, int64_t step, double average)
{
    const double part = step < t->warmup ? (double)step / (double)t->warmup : 1;
    const double smooth = 0.5 - 0.5 * cos(3.14159265358979323846 * part);
    const double goal = t->k + (t->target - t->k) * smooth;
    return log_ratio(average, goal);
}

double beam_target_penalty(const beam_target *t, const beam_target_state *s, int64_t step)
{
    if (s->average_active < 0)
        return 0;
    if (settles(t, step + 1))
        return s->base;
    const double penalty = s->base + t->rate * DAMPING * error_at(t, step, s->average_active);
    return step < t->warmup ? fmax(0, penalty) : penalty;
}

void beam_target_update(const beam_target *t, beam_target_state *s, int64_t step, double active)
{
    if (s->average_active < 0)
        s->average_active = active;
    s->average_active += (active - s->average_active) / MEMORY;
    if (step > t->warmup && !settles(t, step))
        s->base = fmax(0, s->base + t->rate * error_at(t, step, s->average_active));
}

double beam_target_offset(const beam_target *t, const beam_target_state *s, int64_t step)
{
    return settles(t, step) ? -log_ratio(s->average_active, t->target) : 0;
}
