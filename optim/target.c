#include "optim/target.h"

#include <stdbool.h>

enum {
    MEMORY = 10,  /* steps the moving average looks back */
    DAMPING = 60, /* steps the controller looks ahead */
};

/* How far the average is above the goal of a step, as a share of K. */
static double error_at(const beam_target *t, int64_t step, double average)
{
    const double part = step < t->warmup ? (double)step / (double)t->warmup : 1;
    const double goal = t->k + (t->target - t->k) * part;
    return (average - goal) / t->k;
}

void beam_target_update(const beam_target *t, beam_target_state *s, int64_t step, double active)
{
    const bool first = s->average_active < 0;
    const double before = first ? active : s->average_active;
    s->average_active = before + (active - before) / MEMORY;
    const double error = error_at(t, step, s->average_active);
    const double change = first ? 0 : error - error_at(t, step - 1, before);
    s->penalty += t->rate * (error + DAMPING * change);
    if (s->penalty < 0)
        s->penalty = 0;
}
