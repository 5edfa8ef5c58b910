#include "optim/schedule.h"

#include <math.h>

double beam_learning_rate(const beam_schedule *s, int64_t step)
{
    if (step <= s->warmup)
        return s->peak * (double)step / (double)s->warmup;
    const int64_t length = s->total - s->warmup;
    double done = length > 0 ? (double)(step - 1 - s->warmup) / (double)length : 1;
    if (done > 1)
        done = 1;
    double left = 1; /* 1 at the peak, 0 at the end */
    if (s->kind == BEAM_DECAY_LINEAR)
        left = 1 - done;
    else if (s->kind == BEAM_DECAY_COSINE)
        left = 0.5 * (1 + cos(3.14159265358979323846 * done));
    return s->peak * (s->min_ratio + (1 - s->min_ratio) * left);
}
