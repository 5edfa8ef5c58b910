/* config.json of the oldest family: what is read, the defaults, and every refusal with its message. What is
 * common to all families is tried here once. */
#include <stdio.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "model/family_text.h"

/* A test puts its own keys before these. */
#define SIZES                                                                                                \
    "\"vocab_size\": 1000, \"hidden_size\": 64, \"num_hidden_layers\": 4, \"num_attention_heads\": 4"
#define REST   "\"model_type\": \"qwen3_moe\", " SIZES
#define MASKED "\"architectures\": [\"ExpertMaskQwen3MoeForCausalLM\"], "

static void reads_a_published_configuration(void **state)
{
    (void)state;
    beam_model_config c;
    const char *text =
        "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"attention_bias\": false, "
        "\"attention_dropout\": 0.0, \"bos_token_id\": 151643, \"decoder_sparse_step\": 1, "
        "\"eos_token_id\": 151645, \"head_dim\": 128, \"hidden_act\": \"silu\", \"hidden_size\": 2048, "
        "\"initializer_range\": 0.02, \"intermediate_size\": 6144, \"max_position_embeddings\": 40960, "
        "\"max_window_layers\": 48, \"mlp_only_layers\": [], \"model_type\": \"qwen3_moe\", "
        "\"moe_intermediate_size\": 768, \"norm_topk_prob\": true, \"num_attention_heads\": 32, "
        "\"num_experts\": 128, \"num_experts_per_tok\": 8, \"num_hidden_layers\": 48, "
        "\"num_key_value_heads\": 4, \"output_router_logits\": false, \"rms_norm_eps\": 1e-06, "
        "\"rope_scaling\": null, \"rope_theta\": 1000000.0, \"router_aux_loss_coef\": 0.001, "
        "\"sliding_window\": null, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\", "
        "\"use_cache\": true, \"use_sliding_window\": false, \"vocab_size\": 151936}";
    assert_int_equal(family_read(text, &c), BEAM_OK);
    assert_string_equal(c.model_type, "qwen3_moe");
    assert_int_equal(c.vocab_size, 151936);
    assert_int_equal(c.hidden_size, 2048);
    assert_int_equal(c.layers, 48);
    assert_int_equal(c.heads, 32);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.experts, 128);
    assert_int_equal(c.top_k, 8);
    assert_int_equal(c.moe_intermediate_size, 768);
    assert_int_equal(c.max_positions, 40960);
    assert_int_equal(c.eos_token_id, 151645);
    assert_int_equal(beam_moe_layers(&c), 48);
    assert_true(c.norm_topk_prob && !c.tie_word_embeddings && !c.mask.present);
    assert_true(c.rope.theta == 1e6 && c.rms_norm_eps == 1e-6);
    assert_true(c.qk_norm == BEAM_QK_NORM_HEAD && !c.qkv_bias && !c.output_bias && c.window == 0);
}

static void fills_in_defaults(void **state)
{
    (void)state;
    beam_model_config c;
    assert_int_equal(family_read("{" REST "}", &c), BEAM_OK);
    assert_int_equal(c.head_dim, 16); /* hidden size / heads */
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.experts, 128);
    assert_int_equal(c.top_k, 8);
    assert_int_equal(c.intermediate_size, 6144);
    assert_int_equal(c.moe_intermediate_size, 768);
    assert_int_equal(c.max_positions, 32768);
    assert_int_equal(c.eos_token_id, -1);
    assert_int_equal(beam_moe_layers(&c), 4);
    assert_true(!c.norm_topk_prob && !c.tie_word_embeddings && !c.mask.present);
    assert_true(c.rope.theta == 10000 && c.rms_norm_eps == 1e-6);
    assert_true(c.initializer_range == 0.02 && c.router_aux_loss_coef == 0.001);
}

static void finds_dense_layers(void **state)
{
    (void)state;
    beam_model_config c;
    assert_int_equal(family_read("{\"mlp_only_layers\": [3], \"decoder_sparse_step\": 2, " REST "}", &c),
                     BEAM_OK);
    assert_int_equal(c.moe_layer[0], 0);
    assert_int_equal(c.moe_layer[1], 1);
    assert_int_equal(c.moe_layer[2], 0);
    assert_int_equal(c.moe_layer[3], 0);
}

static void reads_newer_spellings(void **state)
{
    (void)state;
    beam_model_config c;
    assert_int_equal(family_read("{\"rope_parameters\": {\"rope_theta\": 5000, \"rope_type\": \"default\"}, "
                                 "\"eos_token_id\": [7, 8], \"head_dim\": null, " REST "}",
                                 &c),
                     BEAM_OK);
    assert_true(c.rope.theta == 5000);
    assert_int_equal(c.eos_token_id, 7);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(
        family_read("{\"rope_scaling\": {\"type\": \"default\"}, \"rope_theta\": 300, " REST "}", &c),
        BEAM_OK);
    assert_true(c.rope.theta == 300);
}

static void reads_biases_and_windows(void **state)
{
    (void)state;
    beam_model_config c;
    assert_int_equal(family_read("{\"attention_bias\": true, \"use_sliding_window\": true, "
                                 "\"sliding_window\": 7, \"num_local_experts\": 16, " REST "}",
                                 &c),
                     BEAM_OK);
    assert_true(c.qkv_bias && c.output_bias);
    assert_int_equal(c.experts, 16);
    assert_int_equal(c.window, 7);
    for (int i = 0; i < 4; i++)
        assert_int_equal(c.windowed[i], 1);
    assert_int_equal(family_read("{\"use_sliding_window\": true, " REST "}", &c), BEAM_OK);
    assert_int_equal(c.window, 4096);
    assert_int_equal(family_read("{\"sliding_window\": 7, " REST "}", &c), BEAM_OK);
    assert_true(c.window == 0 && !c.windowed[0]);
}

static void reads_the_mask_block(void **state)
{
    (void)state;
    beam_model_config c;
    assert_int_equal(family_read("{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.25, "
                                 "\"mask_tensor\": \"mask_gate\", \"mask_dtype\": \"bfloat16\", "
                                 "\"bias\": true, \"router_features\": true, \"dropped_output\": false, "
                                 "\"num_masked_layers\": 4, \"renormalize\": false}, " REST "}",
                                 &c),
                     BEAM_OK);
    assert_true(c.mask.present && c.mask.bias && c.mask.router_features && c.mask.threshold == 0.25);
    assert_int_equal(
        family_read("{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5}, " REST "}", &c),
        BEAM_OK);
    assert_true(c.mask.present && !c.mask.bias && !c.mask.router_features && !c.mask.give_back);
    assert_int_equal(family_read("{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, "
                                 "\"dropped_output\": true}, " REST "}",
                                 &c),
                     BEAM_OK);
    assert_true(c.mask.give_back);
    assert_int_equal(family_read("{\"model_type\": \"expert_mask_qwen3_moe\", " MASKED
                                 "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5}, " SIZES "}",
                                 &c),
                     BEAM_OK);
    assert_true(c.mask.present);
    assert_string_equal(c.model_type, "qwen3_moe");
}

static void refuses(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"", "not valid JSON"},
        {"[]", "object"},
        {"{\"model_type\": \"qwen3_moe\"", "not valid JSON"},
        {"{\"model_type\": \"qwen3_moe\", \"model_type\": \"qwen3_moe\"}", "duplicate"},
        {"{}", "\"model_type\" is missing"},
        {"{\"model_type\": \"llama\"}", "\"llama\"; beam implements qwen3_moe, qwen2_moe"},
        {"{\"model_type\": 7}", "\"model_type\" is 7"},
        {"{\"model_type\": \"qwen3_moe\"}", "\"vocab_size\" is missing"},
        {"{\"model_type\": \"qwen3_moe\", \"vocab_size\": 9}", "\"hidden_size\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4.0}, " REST "}", "rope_scaling.type"},
        {"{\"rope_scaling\": {\"rope_type\": \"longrope\"}, " REST "}", "rope_scaling.rope_type"},
        {"{\"rope_scaling\": {\"factor\": 2}, " REST "}", "rope_type"},
        {"{\"rope_scaling\": 4, " REST "}", "rope_scaling"},
        {"{\"rope_parameters\": {\"rope_type\": \"llama3\"}, " REST "}", "rope_parameters.rope_type"},
        {"{\"rope_theta\": 0, " REST "}", "rope_theta"},
        {"{\"use_sliding_window\": true, \"sliding_window\": null, " REST "}", "use_sliding_window"},
        {"{\"use_mla\": true, " REST "}", "\"use_mla\" of qwen3_moe; remove it"},
        {"{\"layer_types\": [\"full_attention\"], " REST "}", "layer_types"},
        {"{\"num_experts\": null, " REST "}", "\"num_experts\" is null"},
        {"{\"num_experts\": 16, \"num_local_experts\": 32, " REST "}", "num_local_experts"},
        {"{\"attention_bias\": 1, " REST "}", "true or false"},
        {"{\"attention_dropout\": 0.1, " REST "}", "attention_dropout"},
        {"{\"hidden_act\": \"gelu\", " REST "}", "hidden_act"},
        {"{\"quantization_config\": {\"quant_method\": \"fp8\"}, " REST "}", "quantization_config"},
        {"{\"num_experts\": 4, \"num_experts_per_tok\": 5, " REST "}", "num_experts_per_tok"},
        {"{\"num_experts\": 0, " REST "}", "num_experts"},
        {"{\"num_experts\": 2147483648, " REST "}", "num_experts"},
        {"{\"num_key_value_heads\": 3, " REST "}", "num_key_value_heads"},
        {"{\"num_key_value_heads\": 0, " REST "}", "num_key_value_heads"},
        {"{\"head_dim\": 15, " REST "}", "head_dim"},
        {"{\"head_dim\": 0, " REST "}", "head_dim"},
        {"{\"head_dim\": 1e9, " REST "}", "head_dim"},
        {"{\"moe_intermediate_size\": -1, " REST "}", "moe_intermediate_size"},
        {"{\"intermediate_size\": \"6144\", " REST "}", "intermediate_size"},
        {"{\"max_position_embeddings\": 99999999999999999999, " REST "}", "not valid JSON"},
        {"{\"rms_norm_eps\": -1, " REST "}", "rms_norm_eps"},
        {"{\"rms_norm_eps\": NaN, " REST "}", "not valid JSON"},
        {"{\"initializer_range\": 1e999, " REST "}", "not valid JSON"},
        {"{\"tie_word_embeddings\": \"no\", " REST "}", "tie_word_embeddings"},
        {"{\"decoder_sparse_step\": 0, " REST "}", "decoder_sparse_step"},
        {"{\"decoder_sparse_step\": 5, " REST "}", "no layer is a mixture"},
        {"{\"mlp_only_layers\": [0, 1, 2, 3], " REST "}", "no layer is a mixture"},
        {"{\"mlp_only_layers\": [4], " REST "}", "mlp_only_layers"},
        {"{\"mlp_only_layers\": 4, " REST "}", "mlp_only_layers"},
        {"{\"eos_token_id\": 1000, " REST "}", "eos_token_id"},
        {"{\"eos_token_id\": [], " REST "}", "eos_token_id"},
        {"{\"architectures\": [\"Qwen3ForCausalLM\"], " REST "}", "architectures"},
        {"{\"architectures\": \"Qwen3MoeForCausalLM\", " REST "}", "architectures"},
        {"{" MASKED REST "}", "without"},
        {"{\"expert_mask\": {\"version\": 1, \"threshold\": 0.5}, " REST "}", "architectures"},
        {"{\"model_type\": \"expert_mask_qwen3_moe\", " SIZES "}", "\"expert_mask\" is missing"},
        {"{\"model_type\": \"expert_mask_gpt2\", " SIZES "}", "expert_mask_gpt2"},
        {"{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"expert_mask\": {\"version\": 1, "
         "\"threshold\": 0.5}, " REST "}",
         "ExpertMaskQwen3MoeForCausalLM"},
        {"{" MASKED "\"expert_mask\": 1, " REST "}", "expert_mask"},
        {"{" MASKED "\"expert_mask\": {\"threshold\": 0.5}, " REST "}", "expert_mask.version"},
        {"{" MASKED "\"expert_mask\": {\"version\": 2, \"threshold\": 0.5}, " REST "}",
         "expert_mask.version"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1}, " REST "}", "expert_mask.threshold"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0}, " REST "}",
         "expert_mask.threshold"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 1.0}, " REST "}",
         "expert_mask.threshold"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, \"dropped_output\": 1}, " REST "}",
         "expert_mask.dropped_output"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, \"sharpen\": true}, " REST "}",
         "expert_mask.sharpen"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, \"renormalize\": true}, " REST "}",
         "expert_mask.renormalize"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, \"num_masked_layers\": 3}, " REST
         "}",
         "num_masked_layers"},
        {"{" MASKED "\"expert_mask\": {\"version\": 1, \"threshold\": 0.5, \"mask_tensor\": \"x\"}, " REST
         "}",
         "mask_tensor"},
    };
    family_refuse(cases, sizeof cases / sizeof *cases);
}

static void refuses_bombs(void **state)
{
    (void)state;
    enum { DEPTH = 200000 };
    static char text[DEPTH + 16];
    beam_model_config c;
    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '[', DEPTH);
    assert_int_equal(family_read(text, &c), BEAM_EMODEL);
    assert_true(message_has("nested"));
    assert_int_equal(beam_model_config_read(scratch_path("absent.json"), &c), BEAM_EIO);
    assert_true(message_has("absent.json"));
    assert_int_equal(beam_model_config_read(scratch_path(""), &c), BEAM_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_published_configuration),
        cmocka_unit_test(fills_in_defaults),
        cmocka_unit_test(finds_dense_layers),
        cmocka_unit_test(reads_newer_spellings),
        cmocka_unit_test(reads_biases_and_windows),
        cmocka_unit_test(reads_the_mask_block),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_bombs),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
