#include "model/hf_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/families/families.h"

typedef struct {
    const beam_model_config *config;
    const beam_family_names *names;
    beam_params params;
    beam_hf_layout layout;
    beam_hf_map *map;
} builder;

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The checkpoint's word for the `stem` first characters of a parameter's name: published mixture layers may
 * have another module name than "mlp". */
static void put_stem(const builder *b, int param, size_t stem, char *name, size_t size)
{
    static const char mlp[] = ".mlp.";
    const char *own = b->params.at[param].name, *at = strstr(own, mlp);
    int layer = 0, n;
    if (b->layout == BEAM_HF_PUBLISHED && at && sscanf(own, "model.layers.%d.", &layer) == 1 &&
        b->config->moe_layer[layer]) {
        const char *rest = at + strlen(mlp);
        n = snprintf(name, size, "%.*s.%s.%.*s", (int)(at - own), own, b->names->published_mlp,
                     (int)(own + stem - rest), rest);
    } else {
        n = snprintf(name, size, "%.*s", (int)stem, own);
    }
    BEAM_ASSERT(n > 0 && (size_t)n < size);
}

/* Appends the run of a whole tensor of these dims, named by the `stem` first characters of the parameter's
 * name and `rest`. The list was allocated for all. */
static beam_hf_tensor *add(builder *b, int param, beam_part part, size_t stem, const char *rest, int ndim,
                           const int64_t dim[])
{
    beam_hf_tensor *t = &b->map->at[b->map->n++];
    *t = (beam_hf_tensor){.param = param, .part = part, .ndim = ndim, .rows = 1, .row = dim[ndim - 1]};
    for (int i = 0; i < ndim; i++)
        t->dim[i] = dim[i];
    for (int i = 0; i + 1 < ndim; i++)
        t->rows *= dim[i];
    put_stem(b, param, stem, t->name, sizeof t->name);
    const size_t used = strlen(t->name), left = sizeof t->name - used;
    const int n = snprintf(t->name + used, left, "%s", rest);
    BEAM_ASSERT(n >= 0 && (size_t)n < left);
    return t;
}

/* "experts.3.up_proj.weight" of each expert of a stacked parameter. */
static void add_published_experts(builder *b, int param, size_t stem, bool down)
{
    const beam_tensor v = b->params.at[param].value;
    const struct {
        const char *name;
        beam_part part;
    } half[] = {{b->names->gate, BEAM_PART_GATE}, {b->names->up, BEAM_PART_UP}};
    char rest[64];
    for (int64_t e = 0; e < v.dim[0]; e++) {
        const long long number = (long long)(beam_first_expert(b->config) + e);
        if (down) {
            snprintf(rest, sizeof rest, "%lld.%s.weight", number, b->names->down);
            add(b, param, BEAM_PART_WHOLE, stem, rest, BEAM_DIMS(v.dim[1], v.dim[2]))->expert = e;
        }
        for (int i = 0; i < 2 && !down; i++) {
            snprintf(rest, sizeof rest, "%lld.%s.weight", number, half[i].name);
            add(b, param, half[i].part, stem, rest, BEAM_DIMS(v.dim[1] / 2, v.dim[2]))->expert = e;
        }
    }
}

/* The runs of one tensor of all experts, where the parameter has those held: for each expert all gate rows,
 * then all up rows. */
static void add_fused_experts(builder *b, int param, bool down)
{
    const beam_param *p = &b->params.at[param];
    const int64_t rows = down ? p->value.dim[1] : p->value.dim[1] / 2;
    const int64_t dim[] = {b->config->experts, p->value.dim[1], p->value.dim[2]};
    const int64_t runs = down ? 1 : 2, before = runs * beam_first_expert(b->config);
    for (int64_t i = 0; i < runs * p->value.dim[0]; i++) {
        const beam_part part = down ? BEAM_PART_WHOLE : i % 2 ? BEAM_PART_UP : BEAM_PART_GATE;
        beam_hf_tensor *t = add(b, param, part, strlen(p->name), "", 3, dim);
        t->expert = i / runs;
        t->rows = rows;
        t->first = (before + i) * rows * t->row;
    }
}

/* A matrix of latent attention whose rows stand in another order. `keys` rows of a head do not rotate. */
static void set_order(const beam_model_config *c, const char *name, beam_hf_tensor *t)
{
    const int64_t keys = c->head_dim - c->rotary_dim;
    if (ends_with(name, ".q_proj.weight") || ends_with(name, ".q_b_proj.weight")) {
        t->part = BEAM_PART_ROTARY;
        t->head = c->head_dim;
        t->split = keys;
    } else if (ends_with(name, ".kv_a_proj_with_mqa.weight")) {
        t->part = BEAM_PART_ROTARY;
        t->head = c->kv_rank + c->rotary_dim;
        t->split = c->kv_rank;
    } else if (ends_with(name, ".kv_b_proj.weight")) {
        t->part = BEAM_PART_KEY_VALUE;
        t->head = keys + c->value_dim;
        t->split = keys;
    }
    BEAM_ASSERT(t->part == BEAM_PART_WHOLE || t->rows % t->head == 0);
}

/* Checkpoints have no rows of null experts. */
static int64_t saved_rows(const builder *b, const beam_param *p)
{
    return p->value.dim[0] - (ends_with(p->name, ".mlp.gate.weight") ? b->config->null_experts : 0);
}

static void add_param(builder *b, int param)
{
    static const char experts[] = ".mlp.experts.";
    const char *name = b->params.at[param].name, *stacked = strstr(name, experts);
    const beam_tensor v = b->params.at[param].value;
    if (stacked && b->layout == BEAM_HF_FUSED) {
        add_fused_experts(b, param, ends_with(name, ".down_proj"));
    } else if (stacked) {
        const size_t stem = (size_t)(stacked - name) + strlen(experts);
        add_published_experts(b, param, stem, ends_with(name, ".down_proj"));
    } else if (ends_with(name, ".gate_up_proj")) {
        const size_t stem = strlen(name) - strlen("gate_up_proj");
        add(b, param, BEAM_PART_GATE, stem, "gate_proj.weight", BEAM_DIMS(v.dim[0] / 2, v.dim[1]));
        add(b, param, BEAM_PART_UP, stem, "up_proj.weight", BEAM_DIMS(v.dim[0] / 2, v.dim[1]));
    } else {
        const int64_t dim[] = {saved_rows(b, &b->params.at[param]), v.dim[1], v.dim[2], v.dim[3]};
        beam_hf_tensor *t = add(b, param, BEAM_PART_WHOLE, strlen(name), "", v.ndim, dim);
        if (b->config->kv_rank > 0)
            set_order(b->config, name, t);
    }
}

beam_status beam_hf_map_build(const beam_model_config *c, beam_params params, beam_hf_layout layout,
                              beam_hf_map *out)
{
    size_t most = 0; /* two runs of every parameter, or of every expert of a stacked one */
    for (int i = 0; i < params.n; i++)
        most += 2 * (size_t)(params.at[i].value.ndim == 3 ? params.at[i].value.dim[0] : 1);
    *out = (beam_hf_map){.at = calloc(most, sizeof *out->at)};
    if (!out->at)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of tensors");
    builder b = {
        .config = c, .names = &beam_family_of(c)->names, .params = params, .layout = layout, .map = out};
    for (int i = 0; i < params.n; i++)
        add_param(&b, i);
    return BEAM_OK;
}

/* The first tensor whose name has ".experts." before a digit or, if `digit` is false, before anything else;
 * NULL if there is none. */
static const char *find_expert(const beam_weights *file, bool digit)
{
    static const char experts[] = ".experts.";
    for (int64_t i = 0; i < beam_weights_count(file); i++) {
        const char *name = beam_weights_at(file, i)->name, *at = strstr(name, experts);
        const char next = at ? at[strlen(experts)] : '\0';
        if (at && (next >= '0' && next <= '9') == digit)
            return name;
    }
    return NULL;
}

beam_status beam_hf_layout_of(const beam_weights *file, const char *folder, beam_hf_layout *out)
{
    const char *published = find_expert(file, true), *fused = find_expert(file, false);
    *out = fused ? BEAM_HF_FUSED : BEAM_HF_PUBLISHED;
    if (published && fused)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: holds experts one by one (%s) and fused (%s); a folder must hold every expert "
                         "once: save the model again in one layout",
                         folder, published, fused);
    return BEAM_OK;
}

void beam_hf_map_free(beam_hf_map *map)
{
    free(map->at);
    *map = (beam_hf_map){0};
}
