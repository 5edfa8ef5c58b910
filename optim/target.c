#include "optim/target.h"

enum { MEMORY = 10 }; /* steps the moving average looks back */

void beam_target_update(const beam_target *t, beam_target_state *s, int64_t step, double active)
{
    if (s->average_active < 0)
        s->average_active = active;
    s->average_active += (active - s->average_active) / MEMORY;
    const double part = step < t->warmup ? (double)step / (double)t->warmup : 1;
    const double goal = t->k + (t->target - t->k) * part;
    s->penalty += t->rate * (s->average_active - goal) / t->k;
    if (s->penalty < 0)
        s->penalty = 0;
}
