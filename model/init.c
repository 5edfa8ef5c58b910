#include <string.h>

#include "core/rng.h"
#include "model/load.h"

static bool is_norm(const beam_param *p)
{
    return strstr(p->name, "norm") != NULL;
}

static bool is_bias(const beam_param *p)
{
    const char *dot = strrchr(p->name, '.');
    return dot && strcmp(dot, ".bias") == 0;
}

/* Numbers of the experts before the first one held, where p is stacked experts. */
static int64_t numbers_elsewhere(const beam_model_config *c, const beam_param *p)
{
    return p->value.ndim == 3 ? beam_first_expert(c) * p->value.dim[1] * p->value.dim[2] : 0;
}

/* The numbers from number `from` on. normal > 0: random with that standard deviation; else the constant. An
 * expert's numbers are the same whoever holds it. */
static beam_status fill(beam_model *m, const beam_param *p, int64_t from, uint64_t seed, double normal,
                        double constant)
{
    const int64_t n = beam_count(p->value), before = numbers_elsewhere(beam_model_config_of(m), p);
    const beam_tensor rest = beam_rows(beam_reshape(p->value, BEAM_DIMS(n)), from, n - from);
    beam_backend *be = beam_model_backend(m);
    if (normal > 0)
        return beam_tensor_set_normal(be, rest, seed, beam_hash_string(p->name), before + from, normal);
    return beam_tensor_set_all(be, rest, (float)constant);
}

beam_status beam_model_init_base(beam_model *m, uint64_t seed)
{
    const beam_params params = beam_model_params(m);
    const double deviation = beam_model_config_of(m)->initializer_range;
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (p->flags & BEAM_MASK_GATE)
            continue;
        const double normal = is_norm(p) || is_bias(p) ? 0 : deviation;
        BEAM_TRY(fill(m, p, 0, seed, normal, is_norm(p) ? 1 : 0));
    }
    beam_model_round(m);
    return BEAM_OK;
}

beam_status beam_model_init_nulls(beam_model *m, uint64_t seed)
{
    const beam_params params = beam_model_params(m);
    const beam_model_config *c = beam_model_config_of(m);
    for (int i = 0; c->null_experts > 0 && i < params.n; i++)
        if (strstr(params.at[i].name, ".mlp.gate.weight"))
            BEAM_TRY(fill(m, &params.at[i], c->experts * c->hidden_size, seed, c->initializer_range, 0));
    return BEAM_OK;
}

beam_status beam_model_init_gates(beam_model *m, beam_gate_init init, double init_bias)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (!(p->flags & BEAM_MASK_GATE))
            continue;
        double value = 0;
        if (init == BEAM_GATES_OPEN && strstr(p->name, "mask_gate.bias"))
            value = init_bias;
        if (init == BEAM_GATES_OPEN && strstr(p->name, "mask_gate.router_scale"))
            value = 1;
        BEAM_TRY(fill(m, p, 0, 0, 0, value));
    }
    return BEAM_OK;
}
