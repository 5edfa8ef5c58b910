/* The ways in which a checkpoint of a family can be written come to the same model: config.json of
 * transformers 5 and of older versions, experts one by one and fused; and what beam exports. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/file.h"
#include "data/scratch.h"
#include "model/families/families.h"
#include "model/hf_fixture.h"
#include "model/load.h"
#include "serve/export.h"
#include "support/compare.h"

static void need(beam_status status)
{
    if (status != BEAM_OK)
        fail_msg("%s", beam_last_error());
}

/* Every field by itself: what stands between fields is nobody's. */
#define FIELD(member)                                                                                        \
    {                                                                                                        \
#member, offsetof(beam_model_config, member), sizeof(((const beam_model_config *)0)->member)         \
    }
static const struct {
    const char *name;
    size_t offset, size;
} fields[] = {
    FIELD(vocab_size),     FIELD(hidden_size),
    FIELD(layers),         FIELD(max_positions),
    FIELD(rms_norm_eps),   FIELD(initializer_range),
    FIELD(eos_token_id),   FIELD(tie_word_embeddings),
    FIELD(heads),          FIELD(kv_heads),
    FIELD(head_dim),       FIELD(value_dim),
    FIELD(rotary_dim),     FIELD(kv_rank),
    FIELD(query_rank),     FIELD(qkv_bias),
    FIELD(output_bias),    FIELD(qk_norm),
    FIELD(qkv_limit),      FIELD(score_scale),
    FIELD(window),         FIELD(windowed),
    FIELD(rope.kind),      FIELD(rope.theta),
    FIELD(rope.factor),    FIELD(rope.beta_fast),
    FIELD(rope.beta_slow), FIELD(rope.truncate),
    FIELD(rope.amplitude), FIELD(rope.original_positions),
    FIELD(moe_layer),      FIELD(intermediate_size),
    FIELD(experts),        FIELD(moe_intermediate_size),
    FIELD(top_k),          FIELD(norm_topk_prob),
    FIELD(routed_scale),   FIELD(expert_groups),
    FIELD(kept_groups),    FIELD(shared_size),
    FIELD(shared_gate),    FIELD(router_aux_loss_coef),
    FIELD(mask.present),
};

static void older_config_is_the_same(void **state)
{
    hf_fixture f;
    beam_model_config older;
    hf_fixture_open(&f, *state, 1);
    char *path = hf_fixture_path(&f, "config.older.json");
    need(beam_model_config_read(path, &older));
    assert_string_equal(f.config.model_type, older.model_type);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (memcmp((const char *)&f.config + fields[i].offset, (const char *)&older + fields[i].offset,
                   fields[i].size) != 0)
            fail_msg("%s: %s is not the same in config.older.json", f.variant, fields[i].name);
    free(path);
    hf_fixture_close(&f);
}

/* The first variant of each family, named as the family, was saved in both layouts. */
static void fused_layout_is_the_same(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    assert_string_equal(f.variant, f.config.model_type);
    beam_model *one_by_one = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    beam_model *fused = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    const beam_params a = beam_model_params(one_by_one), b = beam_model_params(fused);
    char *folder = hf_fixture_path(&f, "fused");
    for (int i = 0; i < b.n; i++)
        beam_zero(&f.be, b.at[i].value);
    hf_fixture_load(fused, folder);
    for (int i = 0; i < a.n; i++)
        assert_true(test_same(a.at[i].name, a.at[i].value, b.at[i].value));
    free(folder);
    beam_model_close(one_by_one);
    beam_model_close(fused);
    hf_fixture_close(&f);
}

static float *logits_of(beam_model *m, const hf_fixture *f)
{
    beam_model_forward(m, &f->batch, 0);
    return hf_fixture_logits(m, &f->batch);
}

static void export_to(beam_model *m, const hf_fixture *f, const char *out, bool base_trained)
{
    need(beam_export(m, &(beam_export_options){.base = f->folder,
                                               .run = "a test",
                                               .out = out,
                                               .base_trained = base_trained,
                                               .dtype = BEAM_F32,
                                               .shard_bytes = 20000,
                                               .avg_active = NAN}));
}

static void exported_model_is_the_same(void **state)
{
    hf_fixture f;
    hf_fixture_open(&f, *state, 1);
    hf_fixture_masks(&f, true);
    beam_model *m = hf_fixture_model(&f, BEAM_SCOPE_NONE, false);
    float *want = logits_of(m, &f);
    for (int base_trained = 0; base_trained < 2; base_trained++) {
        char out[SCRATCH_PATH], config[SCRATCH_PATH + 16];
        snprintf(out, sizeof out, "%s", scratch_path("exported"));
        snprintf(config, sizeof config, "%s/config.json", out);
        export_to(m, &f, out, base_trained);
        need(beam_model_config_read(config, &f.config));
        beam_model *again;
        const beam_model_options options = {.max_tokens = f.batch.tokens};
        need(beam_model_open(&again, &f.config, &options, &f.be));
        need(beam_model_load(again, out, true));
        float *got = logits_of(again, &f);
        assert_memory_equal(got, want, (size_t)(f.batch.tokens * f.config.vocab_size) * sizeof *got);
        free(got);
        beam_model_close(again);
        beam_remove_folder(out);
    }
    free(want);
    beam_model_close(m);
    hf_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(older_config_is_the_same),     HF_TEST(fused_layout_is_the_same, "qwen3_moe"),
        HF_TEST(fused_layout_is_the_same, "qwen2_moe"), HF_TEST(fused_layout_is_the_same, "deepseek_v2"),
        HF_TEST(fused_layout_is_the_same, "olmoe"),     HF_TEST(fused_layout_is_the_same, "mixtral"),
        HF_TEST_VARIANTS(exported_model_is_the_same),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
