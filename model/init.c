#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "model/load.h"

static bool is_norm(const beam_param *p)
{
    return strstr(p->name, "norm") != NULL;
}

/* normal > 0: random with that standard deviation; else the constant. */
static beam_status fill(beam_backend *be, const beam_param *p, uint64_t seed, double normal, double constant)
{
    const int64_t n = beam_count(p->value);
    float *values = malloc((size_t)n * sizeof *values);
    if (!values)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to initialise %s", p->name);
    const uint64_t stream = beam_hash_string(p->name);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)(normal > 0 ? normal * beam_random_normal(seed, stream, (uint64_t)i) : constant);
    const beam_status status = beam_param_set_f32(be, p, values);
    free(values);
    return status;
}

beam_status beam_model_init_base(beam_model *m, uint64_t seed)
{
    const beam_params params = beam_model_params(m);
    const double deviation = beam_model_config_of(m)->initializer_range;
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (p->flags & BEAM_MASK_GATE)
            continue;
        BEAM_TRY(is_norm(p) ? fill(beam_model_backend(m), p, 0, 0, 1.0)
                            : fill(beam_model_backend(m), p, seed, deviation, 0));
    }
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
        BEAM_TRY(fill(beam_model_backend(m), p, 0, 0, value));
    }
    return BEAM_OK;
}
