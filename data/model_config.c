#include "data/model_config.h"

#include <math.h>

static void complete(int64_t *x, int64_t value)
{
    if (*x == 0)
        *x = value;
}

void beam_model_config_complete(beam_model_config *c)
{
    complete(&c->kv_heads, c->heads);
    complete(&c->head_dim, c->hidden_size / c->heads);
    complete(&c->value_dim, c->head_dim);
    complete(&c->rotary_dim, c->head_dim);
    complete(&c->expert_groups, 1);
    complete(&c->kept_groups, 1);
    if (c->score_scale == 0)
        c->score_scale = 1 / sqrt((double)c->head_dim);
    if (c->rope.amplitude == 0)
        c->rope.amplitude = 1;
    if (c->routed_scale == 0)
        c->routed_scale = 1;
}
