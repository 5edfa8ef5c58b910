/* config.json as transformers 4 and published models have it comes to the same model as that of
 * transformers 5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/families/families.h"
#include "model/hf_fixture.h"

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
    hf_need(beam_model_config_read(path, &older));
    assert_string_equal(f.config.model_type, older.model_type);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (memcmp((const char *)&f.config + fields[i].offset, (const char *)&older + fields[i].offset,
                   fields[i].size) != 0)
            fail_msg("%s: %s is not the same in config.older.json", f.variant, fields[i].name);
    free(path);
    hf_fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {HF_TEST_VARIANTS(older_config_is_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
