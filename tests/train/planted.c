#include "train/planted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "model/load.h"
#include "train/source.h"

void planted_need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

const beam_param *planted_param(beam_model *m, const char *name)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strcmp(params.at[i].name, name) == 0)
            return &params.at[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

void planted_grow(beam_model *m)
{
    const beam_param *down = planted_param(m, "model.layers.1.mlp.experts.down_proj");
    const beam_tensor rows = beam_rows(down->value, PLANTED_EXPERT, 1);
    const int64_t n = beam_count(rows);
    float *values = malloc((size_t)n * sizeof *values);
    assert_non_null(values);
    planted_need(beam_tensor_get_f32(beam_model_backend(m), rows, values));
    for (int64_t i = 0; i < n; i++)
        values[i] *= 1000;
    planted_need(beam_tensor_set_f32(beam_model_backend(m), rows, values));
    free(values);
}

beam_model *planted_open(beam_backend *be, int64_t tokens)
{
    char name[BEAM_PATH_MAX];
    beam_model *m;
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = tokens};
    planted_need(beam_backend_cpu(be, 1));
    snprintf(name, sizeof name, "random:%s", scratch_path("config.json"));
    planted_need(beam_model_source_open(name, &(beam_gate_request){0}, &options, NULL, 42, be, &m));
    return m;
}

beam_loader *planted_tokens(void)
{
    beam_loader *l;
    const beam_loader_options options = {
        .path = scratch_path("tokens.h5"), .sequence = 32, .rows = 2, .packing = true};
    planted_need(beam_loader_open(&options, &l));
    return l;
}
