/* What differs between families: defaults, every variant, and refusals. */
#include <math.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "model/family_text.h"

#define REFUSE(cases) family_refuse(cases, sizeof cases / sizeof *cases)

static void near(double found, double wanted)
{
    assert_true(fabs(found - wanted) <= 1e-15 * fabs(wanted));
}

/* What all families but DeepSeek-V2 have in common. */
static void check_plain(const beam_model_config *c)
{
    assert_int_equal(c->head_dim, 16);
    assert_int_equal(c->value_dim, 16);
    assert_int_equal(c->rotary_dim, 16);
    assert_int_equal(c->kv_rank, 0);
    assert_int_equal(c->query_rank, 0);
    assert_int_equal(c->expert_groups, c->kept_groups);
    assert_int_equal(beam_moe_layers(c), 4);
    near(c->score_scale, 0.25);
    assert_true(c->routed_scale == 1 && c->qkv_limit == 0 && c->window == 0 && !c->windowed[0]);
    assert_true(c->rope.kind == BEAM_ROPE_PLAIN && c->rope.amplitude == 1);
    assert_true(!c->tie_word_embeddings && c->initializer_range == 0.02 && c->eos_token_id == -1);
}

#define QWEN2 FAMILY("qwen2_moe") ", \"num_key_value_heads\": 2"
static void qwen2_moe_defaults(void **state)
{
    (void)state;
    const beam_model_config c = family_accept("{" QWEN2 "}");
    check_plain(&c);
    assert_true(c.qkv_bias && !c.output_bias && c.qk_norm == BEAM_QK_NORM_NONE);
    assert_true(c.shared_gate && !c.norm_topk_prob);
    assert_int_equal(c.shared_size, 5632);
    assert_int_equal(c.intermediate_size, 5632);
    assert_int_equal(c.moe_intermediate_size, 1408);
    assert_int_equal(c.experts, 60);
    assert_int_equal(c.max_positions, 32768);
    assert_true(c.rms_norm_eps == 1e-6 && c.rope.theta == 10000 && c.router_aux_loss_coef == 0.001);
    beam_model_config found;
    assert_int_equal(family_read("{" FAMILY("qwen2_moe") "}", &found), BEAM_EMODEL);
    assert_true(message_has("\"num_key_value_heads\" (16)")); /* the default */
}

static void qwen2_moe_windows_alternate(void **state)
{
    (void)state;
    beam_model_config c = family_accept("{\"use_sliding_window\": true, \"sliding_window\": 9, " QWEN2 "}");
    const uint8_t alternating[] = {1, 0, 1, 0}, below[] = {1, 0, 0, 0}, listed[] = {0, 1, 1, 0};
    assert_int_equal(c.window, 9);
    assert_memory_equal(c.windowed, alternating, 4);
    c = family_accept("{\"use_sliding_window\": true, \"max_window_layers\": 2, " QWEN2 "}");
    assert_int_equal(c.window, 4096);
    assert_memory_equal(c.windowed, below, 4);
    c = family_accept("{\"use_sliding_window\": true, \"layer_types\": [\"full_attention\", "
                      "\"sliding_attention\", \"sliding_attention\", \"full_attention\"], " QWEN2 "}");
    assert_memory_equal(c.windowed, listed, 4);
    c = family_accept("{\"sliding_window\": 9, \"max_window_layers\": 4, " QWEN2 "}");
    assert_true(c.window == 0 && !c.windowed[0]);
}

static void qwen2_moe_variants(void **state)
{
    (void)state;
    const beam_model_config c =
        family_accept("{\"qkv_bias\": false, \"head_dim\": 8, \"norm_topk_prob\": true, \"mlp_only_layers\": "
                      "[1], \"shared_expert_intermediate_size\": 24, " QWEN2 "}");
    assert_true(!c.qkv_bias && c.norm_topk_prob && c.head_dim == 8 && c.rotary_dim == 8);
    assert_int_equal(c.shared_size, 24);
    assert_int_equal(c.moe_layer[1], 0);
}

static void qwen2_moe_refusals(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{\"use_sliding_window\": true, \"sliding_window\": null, " QWEN2 "}", "sliding_window"},
        {"{\"layer_types\": [\"full_attention\"], " QWEN2 "}", "1 entries for 4 layers"},
        {"{\"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\", "
         "\"full_attention\"], " QWEN2 "}",
         "use_sliding_window"},
        {"{\"layer_types\": [\"full_attention\", \"linear_attention\", \"full_attention\", "
         "\"full_attention\"], " QWEN2 "}",
         "layer_types[1]"},
        {"{\"layer_types\": [\"full_attention\", 1, \"full_attention\", \"full_attention\"], " QWEN2 "}",
         "layer_types[1]"},
        {"{\"shared_expert_intermediate_size\": 0, " QWEN2 "}", "shared_expert_intermediate_size"},
        {"{\"attention_bias\": true, " QWEN2 "}", "attention_bias"},
        {"{\"mlp_only_layers\": [0, 1, 2, 3], " QWEN2 "}", "no layer is a mixture"},
        {"{\"architectures\": [\"Qwen3MoeForCausalLM\"], " QWEN2 "}", "[\"Qwen2MoeForCausalLM\"]"},
    };
    REFUSE(cases);
}

static void olmoe_defaults_and_variants(void **state)
{
    (void)state;
    beam_model_config c = family_accept("{" FAMILY("olmoe") "}");
    check_plain(&c);
    assert_true(c.qk_norm == BEAM_QK_NORM_PROJECTION && !c.qkv_bias && !c.output_bias && !c.norm_topk_prob);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.experts, 64);
    assert_int_equal(c.moe_intermediate_size, 2048);
    assert_int_equal(c.shared_size, 0);
    assert_int_equal(c.max_positions, 4096);
    assert_true(c.rms_norm_eps == 1e-5 && c.rope.theta == 10000 && c.router_aux_loss_coef == 0.01);
    c = family_accept("{\"clip_qkv\": 2.5, \"attention_bias\": true, \"num_key_value_heads\": 2, "
                      "\"head_dim\": 16, \"norm_topk_prob\": true, \"sliding_window\": null, "
                      "\"intermediate_size\": 12, " FAMILY("olmoe") "}");
    assert_true(c.qkv_limit == 2.5 && c.qkv_bias && c.output_bias && c.norm_topk_prob);
    assert_int_equal(c.kv_heads, 2);
    assert_int_equal(c.moe_intermediate_size, 12);
    c = family_accept("{\"clip_qkv\": null, \"num_key_value_heads\": null, " FAMILY("olmoe") "}");
    assert_true(c.qkv_limit == 0 && c.kv_heads == 4);
}

static void olmoe_refusals(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{\"clip_qkv\": 0, " FAMILY("olmoe") "}", "clip_qkv"},
        {"{\"clip_qkv\": -8, " FAMILY("olmoe") "}", "clip_qkv"},
        {"{\"head_dim\": 8, " FAMILY("olmoe") "}", "head_dim"},
        {"{\"sliding_window\": 4096, " FAMILY("olmoe") "}", "sliding_window"},
        {"{\"moe_intermediate_size\": 12, " FAMILY("olmoe") "}", "moe_intermediate_size"},
        {"{\"num_key_value_heads\": 3, " FAMILY("olmoe") "}", "num_key_value_heads"},
        {"{\"architectures\": [\"OlmoForCausalLM\"], " FAMILY("olmoe") "}", "[\"OlmoeForCausalLM\"]"},
    };
    REFUSE(cases);
}

#define MIXTRAL FAMILY("mixtral") ", \"num_key_value_heads\": 2"
static void mixtral_defaults_and_variants(void **state)
{
    (void)state;
    beam_model_config c = family_accept("{" MIXTRAL "}");
    check_plain(&c);
    assert_true(c.norm_topk_prob && c.qk_norm == BEAM_QK_NORM_NONE && !c.qkv_bias && !c.output_bias);
    assert_int_equal(c.experts, 8);
    assert_int_equal(c.moe_intermediate_size, 14336);
    assert_int_equal(c.shared_size, 0);
    assert_int_equal(c.max_positions, 131072);
    assert_true(c.rms_norm_eps == 1e-5 && c.rope.theta == 1e6 && c.router_aux_loss_coef == 0.001);
    c = family_accept("{\"sliding_window\": 5, \"head_dim\": 8, \"num_experts\": 6, "
                      "\"router_jitter_noise\": 0.0, " MIXTRAL "}");
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.windowed[i], 1);
    assert_true(c.window == 5 && c.head_dim == 8 && c.experts == 6);
    c = family_accept("{\"sliding_window\": null, \"num_local_experts\": 6, \"num_experts\": 6, " MIXTRAL
                      "}");
    assert_true(c.window == 0 && c.experts == 6);
}

static void mixtral_refusals(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{\"router_jitter_noise\": 0.01, " MIXTRAL "}", "router_jitter_noise"},
        {"{\"norm_topk_prob\": false, " MIXTRAL "}", "norm_topk_prob"},
        {"{\"sliding_window\": 0, " MIXTRAL "}", "sliding_window"},
        {"{\"sliding_window\": true, " MIXTRAL "}", "sliding_window"},
        {"{\"num_experts\": 6, \"num_local_experts\": 8, " MIXTRAL "}", "mean the same and differ"},
        {"{\"num_local_experts\": 1, " MIXTRAL "}", "num_experts_per_tok"},
        {"{\"attention_bias\": true, " MIXTRAL "}", "attention_bias"},
    };
    REFUSE(cases);
}

#define DEEPSEEK FAMILY("deepseek_v2")
#define GROUPS   "\"topk_method\": \"group_limited_greedy\", "
static void deepseek_v2_defaults(void **state)
{
    (void)state;
    const beam_model_config c = family_accept("{" DEEPSEEK "}");
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 192);
    assert_int_equal(c.rotary_dim, 64);
    assert_int_equal(c.value_dim, 128);
    assert_int_equal(c.kv_rank, 512);
    assert_int_equal(c.query_rank, 1536);
    assert_int_equal(c.experts, 64);
    assert_int_equal(c.moe_intermediate_size, 1407);
    assert_int_equal(c.intermediate_size, 11008);
    assert_int_equal(c.shared_size, 2 * 1407);
    assert_int_equal(c.max_positions, 2048);
    assert_int_equal(beam_moe_layers(&c), 4);
    assert_int_equal(c.expert_groups, c.kept_groups);
    assert_true(!c.norm_topk_prob && !c.shared_gate && !c.qkv_bias && c.qk_norm == BEAM_QK_NORM_NONE);
    assert_true(c.routed_scale == 1 && c.rms_norm_eps == 1e-6 && c.router_aux_loss_coef == 0);
    near(c.score_scale, 1 / sqrt(192));
}

static void deepseek_v2_variants(void **state)
{
    (void)state;
    beam_model_config c = family_accept(
        "{\"q_lora_rank\": null, \"kv_lora_rank\": 8, \"qk_nope_head_dim\": 12, \"qk_rope_head_dim\": 6, "
        "\"v_head_dim\": 10, \"first_k_dense_replace\": 3, \"n_shared_experts\": 3, "
        "\"moe_intermediate_size\": 5, \"routed_scaling_factor\": 2.5, \"num_key_value_heads\": 4, "
        "\"head_dim\": 6, \"qk_head_dim\": 18, \"moe_layer_freq\": 1, \"rms_norm_eps\": 1e-5, "
        "\"norm_topk_prob\": false, \"scoring_func\": \"softmax\", \"aux_loss_alpha\": 0.001, " DEEPSEEK "}");
    assert_true(c.query_rank == 0 && c.kv_rank == 8 && c.head_dim == 18 && c.rotary_dim == 6);
    assert_true(c.value_dim == 10 && c.shared_size == 15 && c.routed_scale == 2.5);
    assert_true(!c.moe_layer[2] && c.moe_layer[3] && c.rms_norm_eps == 1e-5);
    c = family_accept("{" GROUPS "\"n_group\": 8, \"topk_group\": 3, " DEEPSEEK "}");
    assert_true(c.expert_groups == 8 && c.kept_groups == 3);
    c = family_accept("{\"topk_method\": \"greedy\", \"n_group\": 8, \"topk_group\": 3, " DEEPSEEK "}");
    assert_int_equal(c.expert_groups, c.kept_groups); /* greedy looks at no groups */
}

static void deepseek_v2_refusals(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{\"num_key_value_heads\": 2, " DEEPSEEK "}", "num_key_value_heads"},
        {"{\"qk_rope_head_dim\": 7, " DEEPSEEK "}", "qk_rope_head_dim"},
        {"{\"qk_nope_head_dim\": 0, " DEEPSEEK "}", "qk_nope_head_dim"},
        {"{\"kv_lora_rank\": null, " DEEPSEEK "}", "kv_lora_rank"},
        {"{\"q_lora_rank\": 0, " DEEPSEEK "}", "q_lora_rank"},
        {"{\"attention_bias\": true, " DEEPSEEK "}", "attention_bias"},
        {"{\"mlp_bias\": true, " DEEPSEEK "}", "mlp_bias"},
        {"{\"norm_topk_prob\": true, " DEEPSEEK "}", "norm_topk_prob"},
        {"{\"scoring_func\": \"sigmoid\", " DEEPSEEK "}", "scoring_func"},
        {"{\"topk_method\": \"noaux_tc\", " DEEPSEEK "}", "noaux_tc"},
        {"{\"n_shared_experts\": 0, " DEEPSEEK "}", "n_shared_experts"},
        {"{\"n_shared_experts\": null, " DEEPSEEK "}", "n_shared_experts"},
        {"{\"first_k_dense_replace\": 4, " DEEPSEEK "}", "no layer is a mixture"},
        {"{\"first_k_dense_replace\": -1, " DEEPSEEK "}", "first_k_dense_replace"},
        {"{\"moe_layer_freq\": 2, " DEEPSEEK "}", "moe_layer_freq"},
        {"{\"routed_scaling_factor\": 0, " DEEPSEEK "}", "routed_scaling_factor"},
        {"{" GROUPS "\"n_group\": 7, \"topk_group\": 3, " DEEPSEEK "}", "n_group"},
        {"{" GROUPS "\"n_group\": 8, \"topk_group\": 9, " DEEPSEEK "}", "topk_group"},
        {"{" GROUPS "\"n_group\": 8, " DEEPSEEK "}", "topk_group"},
        {"{" GROUPS "\"n_group\": null, \"topk_group\": 1, " DEEPSEEK "}", "n_group"},
        {"{" GROUPS "\"n_group\": 64, \"topk_group\": 1, " DEEPSEEK "}", "num_experts_per_tok"},
        {"{\"model_type\": \"deepseek_v2\", \"vocab_size\": 9, \"hidden_size\": 8, \"num_hidden_layers\": 1, "
         "\"num_attention_heads\": 1, \"num_experts_per_tok\": null}",
         "\"num_experts_per_tok\" is missing"},
    };
    REFUSE(cases);
}

static void other_families_are_refused_by_name(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{" FAMILY("gpt_oss") "}",
         "\"gpt_oss\"; beam implements qwen3_moe, qwen2_moe, deepseek_v2, olmoe, "},
        {"{" FAMILY("deepseek_v3") "}", "\"deepseek_v3\""},
        {"{" FAMILY("qwen3_5_moe") "}", "\"qwen3_5_moe\""},
        {"{" FAMILY("minimax_m2") "}", "\"minimax_m2\""},
        {"{" FAMILY("a_name_longer_than_any_that_a_configuration_can_hold") "}", "\"a_name_longer"},
    };
    REFUSE(cases);
    beam_model_config c;
    assert_int_equal(
        beam_model_config_read(family_source_path("tests/fixtures/configs/gpt-oss-20b.json"), &c),
        BEAM_EMODEL);
    assert_true(message_has("\"model_type\" is \"gpt_oss\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen2_moe_defaults),
        cmocka_unit_test(qwen2_moe_windows_alternate),
        cmocka_unit_test(qwen2_moe_variants),
        cmocka_unit_test(qwen2_moe_refusals),
        cmocka_unit_test(olmoe_defaults_and_variants),
        cmocka_unit_test(olmoe_refusals),
        cmocka_unit_test(mixtral_defaults_and_variants),
        cmocka_unit_test(mixtral_refusals),
        cmocka_unit_test(deepseek_v2_defaults),
        cmocka_unit_test(deepseek_v2_variants),
        cmocka_unit_test(deepseek_v2_refusals),
        cmocka_unit_test(other_families_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
