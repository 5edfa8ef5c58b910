#include "model/hf_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Appends one tensor; the list was allocated for all. `stem` characters of the parameter's name come first.
 */
static void add(beam_hf_map *map, const beam_params params, int param, beam_part part, int64_t expert,
                size_t stem, const char *rest, int ndim, const int64_t dim[])
{
    beam_hf_tensor *t = &map->at[map->n++];
    *t = (beam_hf_tensor){.param = param, .part = part, .expert = expert, .ndim = ndim};
    memcpy(t->dim, dim, (size_t)ndim * sizeof *dim);
    const int n = snprintf(t->name, sizeof t->name, "%.*s%s", (int)stem, params.at[param].name, rest);
    BEAM_ASSERT(n > 0 && (size_t)n < sizeof t->name);
}

static void add_experts(beam_hf_map *map, const beam_params params, int param, size_t stem)
{
    const beam_tensor v = params.at[param].value;
    const bool down = ends_with(params.at[param].name, "down_proj");
    char rest[64];
    for (int64_t e = 0; e < v.dim[0]; e++) {
        if (down) {
            snprintf(rest, sizeof rest, "%lld.down_proj.weight", (long long)e);
            add(map, params, param, BEAM_PART_BLOCK, e, stem, rest, BEAM_DIMS(v.dim[1], v.dim[2]));
            continue;
        }
        snprintf(rest, sizeof rest, "%lld.gate_proj.weight", (long long)e);
        add(map, params, param, BEAM_PART_GATE, e, stem, rest, BEAM_DIMS(v.dim[1] / 2, v.dim[2]));
        snprintf(rest, sizeof rest, "%lld.up_proj.weight", (long long)e);
        add(map, params, param, BEAM_PART_UP, e, stem, rest, BEAM_DIMS(v.dim[1] / 2, v.dim[2]));
    }
}

static void add_param(beam_hf_map *map, const beam_params params, int param)
{
    const char *name = params.at[param].name;
    const beam_tensor v = params.at[param].value;
    const char *experts = strstr(name, ".experts.");
    if (experts) {
        add_experts(map, params, param, (size_t)(experts - name) + strlen(".experts."));
    } else if (ends_with(name, ".gate_up_proj")) {
        const size_t stem = strlen(name) - strlen("gate_up_proj");
        add(map, params, param, BEAM_PART_GATE, 0, stem, "gate_proj.weight",
            BEAM_DIMS(v.dim[0] / 2, v.dim[1]));
        add(map, params, param, BEAM_PART_UP, 0, stem, "up_proj.weight", BEAM_DIMS(v.dim[0] / 2, v.dim[1]));
    } else {
        add(map, params, param, BEAM_PART_WHOLE, 0, strlen(name), "", v.ndim, v.dim);
    }
}

beam_status beam_hf_map_build(const beam_model_config *c, beam_params params, beam_hf_map *out)
{
    const int64_t per_param = 2 * (c->experts > 0 ? c->experts : 1);
    out->n = 0;
    out->at = calloc((size_t)(params.n * per_param), sizeof *out->at);
    if (!out->at)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of tensors");
    for (int i = 0; i < params.n; i++)
        add_param(out, params, i);
    return BEAM_OK;
}

void beam_hf_map_free(beam_hf_map *map)
{
    free(map->at);
    *map = (beam_hf_map){0};
}

int64_t beam_hf_count(const beam_hf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

/* Elements from the start of the parameter to row `r` of the tensor. */
static int64_t row_offset(const beam_hf_tensor *t, const beam_param *p, int64_t r)
{
    const int64_t row = p->value.dim[p->value.ndim - 1];
    if (t->part == BEAM_PART_WHOLE)
        return r * row;
    const int64_t rows = p->value.dim[p->value.ndim - 2]; /* of one expert */
    const int64_t within =
        t->part == BEAM_PART_BLOCK ? r : beam_interleave_row(r, t->part == BEAM_PART_UP, rows / 2);
    return (t->expert * rows + within) * row;
}

void beam_hf_scatter(const beam_hf_tensor *t, const beam_param *p, void *param, const void *tensor,
                     size_t size)
{
    const int64_t row = t->dim[t->ndim - 1], rows = beam_hf_count(t) / row;
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)param + (size_t)row_offset(t, p, r) * size,
               (const char *)tensor + (size_t)(r * row) * size, (size_t)row * size);
}

void beam_hf_gather(const beam_hf_tensor *t, const beam_param *p, const void *param, void *tensor,
                    size_t size)
{
    const int64_t row = t->dim[t->ndim - 1], rows = beam_hf_count(t) / row;
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)tensor + (size_t)(r * row) * size,
               (const char *)param + (size_t)row_offset(t, p, r) * size, (size_t)row * size);
}
