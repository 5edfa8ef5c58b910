#include "model/hf_fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/families/families.h"
#include "model/load.h"

void hf_need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

static void *new_memory(size_t bytes)
{
    void *p = malloc(bytes);
    assert_non_null(p);
    return p;
}

char *hf_fixture_path(const hf_fixture *f, const char *name)
{
    const size_t size = strlen(f->folder) + strlen(name) + 2;
    char *path = new_memory(size);
    snprintf(path, size, "%s/%s", f->folder, name);
    return path;
}

/* Every row of `ids` is a sequence. */
static void make_batch(hf_fixture *f)
{
    const beam_weight *w = beam_weights_find(f->expected, "ids");
    assert_true(w && w->ndim == 2);
    const int64_t length = w->dim[1], tokens = w->dim[0] * length;
    beam_batch *b = &f->batch;
    hf_need(beam_batch_alloc(b, tokens));
    int32_t *ids = hf_fixture_expect(f, "ids", BEAM_I32, tokens);
    for (int64_t t = 0; t < tokens; t++) {
        const bool last = (t + 1) % length == 0;
        b->id[t] = ids[t];
        b->target[t] = last ? -1 : ids[t + 1];
        b->position[t] = (int32_t)(t % length);
        b->counted[t] = 1;
    }
    free(ids);
    b->sequences = (int)w->dim[0];
    for (int s = 0; s <= b->sequences; s++)
        b->first[s] = (int32_t)(s * length);
    b->targets = tokens - b->sequences;
    b->counted_total = tokens;
}

void hf_fixture_open(hf_fixture *f, const char *variant, int threads)
{
    *f = (hf_fixture){.variant = variant};
    const char *elsewhere = getenv("BEAM_TEST_FAMILIES"); /* a program that was taken to another machine */
    snprintf(f->folder, sizeof f->folder, "%s/%s", elsewhere ? elsewhere : BEAM_FAMILIES_FOLDER, variant);
    char *config = hf_fixture_path(f, "config.json"), *expected = hf_fixture_path(f, "expected.safetensors");
    hf_need(beam_model_config_read(config, &f->config));
    hf_need(beam_weights_open(expected, &f->expected));
    hf_need(beam_backend_cpu(&f->be, threads));
    make_batch(f);
    free(config);
    free(expected);
}

void hf_fixture_close(hf_fixture *f)
{
    beam_batch_free(&f->batch);
    beam_weights_close(f->expected);
    beam_backend_close(&f->be);
}

void hf_fixture_masks(hf_fixture *f, bool give_back)
{
    f->config.mask = (beam_mask_config){
        .present = true, .threshold = 0.5, .bias = true, .router_features = true, .give_back = give_back};
}

void *hf_fixture_expect(const hf_fixture *f, const char *name, beam_dtype dtype, int64_t count)
{
    const beam_weight *w = beam_weights_find(f->expected, name);
    if (!w)
        fail_msg("%s: expected.safetensors has no %s", f->variant, name);
    const int64_t elements = (int64_t)(w->bytes / beam_dtype_size(w->dtype));
    if (elements != count || (dtype != BEAM_F32 && dtype != w->dtype))
        fail_msg("%s: %s has %" PRId64 " elements of type %s, not %" PRId64 " of type %s", f->variant, name,
                 elements, beam_dtype_name(w->dtype), count, beam_dtype_name(dtype));
    void *values = new_memory((size_t)count * beam_dtype_size(dtype));
    hf_need(dtype == BEAM_F32 ? beam_weights_read_f32(f->expected, w, values)
                              : beam_weights_read_raw(f->expected, w, values));
    return values;
}

beam_hf_map hf_fixture_map(beam_model *m)
{
    beam_hf_map map;
    hf_need(beam_hf_map_build(beam_model_config_of(m), beam_model_params(m), BEAM_HF_PUBLISHED, &map));
    return map;
}

/* The mask gates' parameters stand among the expected values. */
static void load_gates(const hf_fixture *f, beam_model *m)
{
    const beam_params params = beam_model_params(m);
    beam_hf_map map = hf_fixture_map(m);
    for (int64_t i = 0; i < map.n; i++) {
        const beam_hf_tensor *t = &map.at[i];
        if (!(params.at[t->param].flags & BEAM_MASK_GATE))
            continue;
        char name[BEAM_NAME_MAX + 32];
        snprintf(name, sizeof name, "gate.%s", t->name);
        float *values = hf_fixture_expect(f, name, BEAM_F32, t->rows * t->row);
        hf_need(beam_hf_put(beam_model_backend(m), t, params.at[t->param].value, 0, t->rows, values));
        free(values);
    }
    beam_hf_map_free(&map);
}

beam_model *hf_fixture_model(hf_fixture *f, beam_scope scope, bool checkpointing)
{
    beam_model *m;
    const beam_model_options options = {
        .scope = scope, .max_tokens = f->batch.tokens, .checkpointing = checkpointing};
    hf_need(beam_model_open(&m, &f->config, &options, &f->be));
    hf_need(beam_model_load(m, f->folder, false));
    load_gates(f, m);
    return m;
}

float *hf_fixture_logits(beam_model *m, const beam_batch *b)
{
    const int64_t vocab = beam_model_config_of(m)->vocab_size;
    float *logits = new_memory((size_t)(b->tokens * vocab) * sizeof *logits);
    hf_need(beam_model_logits(m, 0, b->tokens, logits));
    return logits;
}
