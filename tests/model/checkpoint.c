#include "model/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/file.h"
#include "model/families/families.h"
#include "support/values.h"

static beam_status copy_out(void *context, int64_t item, void *bytes)
{
    memcpy(bytes, context, (size_t)item * sizeof(float));
    return BEAM_OK;
}

void test_checkpoint_add(test_checkpoint *k, const char *name, int ndim, const int64_t dim[])
{
    beam_weight_source *at = realloc(k->at, (size_t)(k->n + 1) * sizeof *at);
    assert_non_null(at);
    k->at = at;
    beam_weight_source *t = &at[k->n++];
    *t = (beam_weight_source){.dtype = BEAM_F32, .ndim = ndim, .fill = copy_out};
    snprintf(t->name, sizeof t->name, "%s", name);
    memcpy(t->dim, dim, (size_t)ndim * sizeof *dim);
    t->item = beam_count(beam_view(NULL, BEAM_F32, ndim, dim));
    t->context = calloc((size_t)t->item, sizeof(float));
    assert_non_null(t->context);
}

beam_weight_source *test_checkpoint_find(const test_checkpoint *k, const char *name)
{
    for (int64_t i = 0; i < k->n; i++)
        if (strcmp(k->at[i].name, name) == 0)
            return &k->at[i];
    return NULL;
}

const float *test_checkpoint_values(const beam_weight_source *t)
{
    return t->context;
}

test_checkpoint test_checkpoint_of(beam_model *m, beam_hf_layout layout, bool gates)
{
    test_checkpoint k = {0};
    beam_hf_map map;
    const beam_params params = beam_model_params(m);
    assert_int_equal(beam_hf_map_build(beam_model_config_of(m), params, layout, &map), BEAM_OK);
    for (int64_t i = 0; i < map.n; i++) {
        const beam_hf_tensor *t = &map.at[i];
        if (!gates && (params.at[t->param].flags & BEAM_MASK_GATE))
            continue;
        if (!test_checkpoint_find(&k, t->name))
            test_checkpoint_add(&k, t->name, t->ndim, t->dim);
        float *values = test_checkpoint_find(&k, t->name)->context;
        assert_int_equal(
            beam_hf_get(beam_model_backend(m), t, params.at[t->param].value, 0, t->rows, values + t->first),
            BEAM_OK);
    }
    beam_hf_map_free(&map);
    return k;
}

void test_checkpoint_free(test_checkpoint *k)
{
    for (int64_t i = 0; i < k->n; i++)
        free(k->at[i].context);
    free(k->at);
    *k = (test_checkpoint){0};
}

void test_checkpoint_copy(test_checkpoint *k, const char *name, const char *from)
{
    const beam_weight_source source = *test_checkpoint_find(k, from);
    test_checkpoint_add(k, name, source.ndim, source.dim);
    memcpy(k->at[k->n - 1].context, source.context, (size_t)source.item * sizeof(float));
}

void test_checkpoint_remove(test_checkpoint *k, const char *name)
{
    beam_weight_source *t = test_checkpoint_find(k, name);
    assert_non_null(t);
    free(t->context);
    *t = k->at[--k->n];
}

void test_checkpoint_write(const test_checkpoint *k, const char *folder)
{
    if (beam_safetensors_write_folder(folder, k->at, k->n, UINT64_MAX) != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

const char *test_family_folder(const char *name, beam_hf_layout layout)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s%s", BEAM_FAMILIES_FOLDER, name,
             layout == BEAM_HF_FUSED ? "/fused" : "");
    return path;
}

const char *test_family_name(int i)
{
    static const char *const names[] = {"qwen3_moe",   "qwen3_moe_dense",    "qwen2_moe", "qwen2_moe_window",
                                        "deepseek_v2", "deepseek_v2_groups", "olmoe",     "olmoe_clip",
                                        "mixtral",     "mixtral_window"};
    return i < (int)(sizeof names / sizeof *names) ? names[i] : NULL;
}

bool test_family_fused(const char *name)
{
    return beam_folder_exists(test_family_folder(name, BEAM_HF_FUSED));
}

beam_model_config test_family_config(const char *name)
{
    char path[600];
    beam_model_config c;
    snprintf(path, sizeof path, "%s/config.json", test_family_folder(name, BEAM_HF_PUBLISHED));
    if (beam_model_config_read(path, &c) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return c;
}

beam_model *test_family_open(beam_backend *be, const char *name, bool gates)
{
    beam_model *m;
    beam_model_config c = test_family_config(name);
    c.mask = (beam_mask_config){.present = gates, .threshold = 0.5, .bias = gates, .give_back = gates};
    if (beam_model_open(&m, &c, &(beam_model_options){.max_tokens = 4}, be) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        test_fill_normal(params.at[i].value, params.at[i].name, 1);
    return m;
}
