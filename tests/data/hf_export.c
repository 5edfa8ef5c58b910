/* config.json of an exported folder: what is set, and that everything else stays. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/hf_export.h"
#include "data/scratch.h"
#include "model/families/families.h"

static const char base[] =
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"vocab_size\": 259,\n"
    " \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2, \"num_key_value_heads\": "
    "1,\n"
    " \"num_experts\": 4, \"num_experts_per_tok\": 2, \"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0,\n"
    " \"initializer_range\": 0.1, \"torch_dtype\": \"bfloat16\", \"unsloth_key\": {\"kept\": [1, null]},\n"
    " \"auto_map\": {\"AutoModel\": \"modeling.Model\"}}\n";

static const char name[] = "Qwen3MoeForCausalLM";
static const beam_mask_config mask = {.present = true, .threshold = 0.3, .bias = true};

/* The written file, as text. */
static char *write_config(const char *from, const beam_hf_export *e)
{
    size_t size;
    assert_int_equal(beam_hf_config_write(scratch_text("base.json", from), scratch_path("config.json"), e),
                     BEAM_OK);
    return scratch_read(scratch_path("config.json"), &size);
}

static void masks_are_described(void **state)
{
    (void)state;
    const beam_hf_export e = {.architecture = name,
                              .model_type = "qwen3_moe",
                              .mask = mask,
                              .mask_dtype = BEAM_F32,
                              .dtype = BEAM_BF16,
                              .masked_layers = 2,
                              .avg_active = 1.23456789};
    char *text = write_config(base, &e);
    beam_model_config c;
    assert_int_equal(beam_model_config_read(scratch_path("config.json"), &c), BEAM_OK);
    assert_true(c.mask.present && c.mask.bias && !c.mask.router_features);
    assert_true(c.mask.threshold == 0.3 && c.rms_norm_eps == 1e-6 && c.initializer_range == 0.1);
    assert_non_null(strstr(text, "\"ExpertMaskQwen3MoeForCausalLM\""));
    assert_non_null(strstr(text, "\"torch_dtype\": \"bfloat16\""));
    assert_non_null(strstr(text, "\"mask_dtype\": \"float32\""));
    assert_non_null(strstr(text, "\"avg_active\": 1.23457"));
    assert_non_null(strstr(text, "\"unsloth_key\""));
    assert_non_null(strstr(text, "0.1,")); /* not 0.10000000000000001 */
    assert_non_null(strstr(text, "\"dropped_output\": false"));
    assert_non_null(strstr(text, "\"model_type\": \"expert_mask_qwen3_moe\""));
    assert_non_null(strstr(text, "\"AutoConfig\": \"modeling_expert_mask.ExpertMaskQwen3MoeConfig\""));
    assert_non_null(strstr(text, "\"modeling_expert_mask.ExpertMaskQwen3MoeForCausalLM\""));
    assert_null(strstr(text, "modeling.Model")); /* the base's code is not there */
    free(text);
}

static void the_bases_type_can_stay(void **state)
{
    (void)state;
    beam_hf_export e = {.architecture = name, .model_type = "qwen3_moe", .mask = mask, .masked_layers = 2};
    e.plain_type = true;
    char *text = write_config(base, &e);
    beam_model_config c;
    assert_int_equal(beam_model_config_read(scratch_path("config.json"), &c), BEAM_OK);
    assert_true(c.mask.present);
    assert_non_null(strstr(text, "\"model_type\": \"qwen3_moe\""));
    assert_non_null(strstr(text, "\"AutoModelForCausalLM\""));
    assert_null(strstr(text, "AutoConfig"));
    free(text);
}

static void what_dropped_experts_give_back_is_described(void **state)
{
    (void)state;
    beam_hf_export e = {
        .architecture = name, .model_type = "qwen3_moe", .mask = mask, .masked_layers = 2, .avg_active = NAN};
    e.mask.give_back = true;
    free(write_config(base, &e));
    beam_model_config c;
    assert_int_equal(beam_model_config_read(scratch_path("config.json"), &c), BEAM_OK);
    assert_true(c.mask.give_back);
}

static void the_family_names_the_architecture(void **state)
{
    (void)state;
    const beam_hf_export e = {.architecture = "OlmoeForCausalLM",
                              .model_type = "olmoe",
                              .mask = mask,
                              .masked_layers = 2,
                              .avg_active = NAN};
    char *text = write_config("{\"model_type\": \"olmoe\"}", &e);
    assert_non_null(strstr(text, "\"ExpertMaskOlmoeForCausalLM\""));
    free(text);
}

static void digits_that_matter_stay(void **state)
{
    (void)state;
    char from[1024];
    snprintf(from, sizeof from, "%.*s, \"odd\": 0.12345678901234567}", (int)(strrchr(base, '}') - base),
             base);
    char *text = write_config(
        from, &(beam_hf_export){
                  .architecture = name, .model_type = "qwen3_moe", .dtype = BEAM_F32, .avg_active = NAN});
    const char *odd = strstr(text, "\"odd\": ");
    assert_non_null(odd);
    assert_true(strtod(odd + 7, NULL) == 0.12345678901234567);
    free(text);
}

static void a_masked_base_becomes_plain_again(void **state)
{
    (void)state;
    const beam_hf_export masked = {
        .architecture = name, .model_type = "qwen3_moe", .mask = mask, .masked_layers = 2, .avg_active = NAN};
    char *once = write_config(base, &masked);
    assert_null(strstr(once, "avg_active"));
    char *twice = write_config(once, &masked); /* the prefix is not put on again */
    assert_string_equal(once, twice);
    char *plain = write_config(
        once, &(beam_hf_export){.architecture = name, .model_type = "qwen3_moe", .dtype = BEAM_F32});
    assert_null(strstr(plain, "expert_mask"));
    assert_null(strstr(plain, "auto_map"));
    assert_non_null(strstr(plain, "\"Qwen3MoeForCausalLM\""));
    assert_non_null(strstr(plain, "\"torch_dtype\": \"float32\""));
    free(once);
    free(twice);
    free(plain);
}

static void known_files_are_copied(void **state)
{
    (void)state;
    assert_int_equal(beam_make_folder(scratch_path("from")), BEAM_OK);
    assert_int_equal(beam_make_folder(scratch_path("to")), BEAM_OK);
    scratch_text("from/tokenizer.json", "{}");
    scratch_text("from/LICENSE", "free");
    scratch_text("from/model.safetensors", "weights");
    scratch_text("from/modeling.py", "code");
    assert_int_equal(beam_hf_copy_files(scratch_path("from"), scratch_path("to")), BEAM_OK);
    assert_int_equal(scratch_count(scratch_path("to"), ""), 2);
    assert_true(beam_file_exists(scratch_path("to/tokenizer.json")));
    assert_true(beam_file_exists(scratch_path("to/LICENSE")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_described),
        cmocka_unit_test(the_bases_type_can_stay),
        cmocka_unit_test(what_dropped_experts_give_back_is_described),
        cmocka_unit_test(the_family_names_the_architecture),
        cmocka_unit_test(digits_that_matter_stay),
        cmocka_unit_test(a_masked_base_becomes_plain_again),
        cmocka_unit_test(known_files_are_copied),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
