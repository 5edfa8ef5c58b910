/* Every key of config.json, mechanically: what the tables promise is what reading does, published files hold
 * no key that was not thought about, and docs/families.md has the same tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/json.h"
#include "data/scratch.h"
#include "model/family_text.h"

/* What a family's config.json must have. */
static json_t *least(const beam_family *f)
{
    json_t *root = json_loads("{" FAMILY("x") ", \"num_key_value_heads\": 4}", 0, NULL);
    assert_int_equal(json_object_set_new(root, "model_type", json_string(f->model_type)), 0);
    return root;
}

/* Reads the least configuration with `key` set to the JSON text `value`. */
static beam_status read_with(const beam_family *f, const char *key, const char *value)
{
    beam_model_config c;
    json_t *root = least(f);
    assert_int_equal(json_object_set_new(root, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    char *text = json_dumps(root, 0);
    const beam_status status = family_read(text, &c);
    free(text);
    json_decref(root);
    return status;
}

/* A key that is used is looked at, one that is fixed has one value, one that is ignored may have any. */
static void treatment_is_as_promised(void **state)
{
    (void)state;
    beam_family_key k;
    for (int f = 0; f < beam_family_count(); f++)
        for (int i = 0; beam_family_key_at(beam_family_at(f), i, &k); i++) {
            const beam_family *family = beam_family_at(f);
            const beam_status odd = read_with(family, k.key, "[\"odd\", 5]");
            if ((odd == BEAM_OK) != (k.treatment == BEAM_KEY_IGNORED))
                fail_msg("%s: %s is promised otherwise", family->model_type, k.key);
            if (odd != BEAM_OK)
                assert_true(message_has(k.key));
            if (k.treatment == BEAM_KEY_FIXED) {
                assert_int_equal(read_with(family, k.key, k.value), BEAM_OK);
                assert_int_equal(read_with(family, k.key, "null"), BEAM_OK);
            }
            assert_true(strlen(k.note) > 3);
        }
}

static void keys_stand_once(void **state)
{
    (void)state;
    beam_family_key a, b;
    for (int f = 0; f < beam_family_count(); f++)
        for (int i = 0; beam_family_key_at(beam_family_at(f), i, &a); i++)
            for (int j = 0; j < i && beam_family_key_at(beam_family_at(f), j, &b); j++)
                assert_string_not_equal(a.key, b.key);
}

static void prefixes_and_nulls(void **state)
{
    (void)state;
    const beam_family *f = beam_family_at(0);
    assert_int_equal(read_with(f, "unsloth_version", "\"2025.1\""), BEAM_OK);
    assert_int_equal(read_with(f, "unsloth", "1"), BEAM_EMODEL);
    assert_int_equal(read_with(f, "never_heard_of", "null"), BEAM_OK);
    assert_int_equal(read_with(f, "never_heard_of", "false"), BEAM_EMODEL);
    assert_true(message_has("\"never_heard_of\" of qwen3_moe; remove it if it does not change what"));
}

#define EVERYWHERE                                                                                           \
    "use_cache:ignored torch_dtype:ignored architectures:used model_type:used vocab_size:used "              \
    "hidden_size:used num_hidden_layers:used num_attention_heads:used num_key_value_heads:used "             \
    "intermediate_size:used max_position_embeddings:used initializer_range:used tie_word_embeddings:used "   \
    "rope_theta:used hidden_act:fixed attention_dropout:fixed eos_token_id:used num_experts_per_tok:used "
#define QWEN                                                                                                 \
    "rms_norm_eps:used bos_token_id:ignored decoder_sparse_step:used moe_intermediate_size:used "            \
    "norm_topk_prob:used num_experts:used output_router_logits:ignored router_aux_loss_coef:used "           \
    "sliding_window:used use_sliding_window:used "

/* Every key of each file, with what is done with it. */
static const struct {
    const char *file, *keys;
} published[] = {
    {"Qwen3-30B-A3B", " " EVERYWHERE QWEN "attention_bias:used head_dim:used max_window_layers:ignored "
                      "mlp_only_layers:used rope_scaling:used transformers_version:ignored "},
    {"Qwen1.5-MoE-A2.7B", " " EVERYWHERE QWEN "max_window_layers:used shared_expert_intermediate_size:used "},
    {"DeepSeek-V2-Lite",
     " " EVERYWHERE "rms_norm_eps:used bos_token_id:ignored moe_intermediate_size:used n_shared_experts:used "
     "n_routed_experts:used routed_scaling_factor:used kv_lora_rank:used q_lora_rank:used "
     "qk_rope_head_dim:used v_head_dim:used qk_nope_head_dim:used topk_method:used n_group:used "
     "topk_group:used moe_layer_freq:fixed first_k_dense_replace:used norm_topk_prob:fixed "
     "scoring_func:fixed aux_loss_alpha:ignored seq_aux:ignored rope_scaling:used attention_bias:fixed "
     "pretraining_tp:ignored "},
    {"OLMoE-1B-7B-0125-Instruct",
     " " EVERYWHERE "_name_or_path:ignored attention_bias:used clip_qkv:used norm_topk_prob:used "
     "num_experts:used output_router_logits:ignored pad_token_id:ignored rms_norm_eps:used "
     "rope_scaling:used router_aux_loss_coef:used transformers_version:ignored "},
    {"Mixtral-8x7B-v0.1",
     " " EVERYWHERE "bos_token_id:ignored num_local_experts:used output_router_logits:ignored "
     "rms_norm_eps:used router_aux_loss_coef:used sliding_window:used transformers_version:ignored "},
};

static const char *treatment_of(const beam_family *f, const char *key)
{
    static const char *const name[] = {"used", "fixed", "ignored"};
    beam_family_key k;
    for (int i = 0; beam_family_key_at(f, i, &k); i++)
        if (strcmp(k.key, key) == 0)
            return name[k.treatment];
    return "unknown";
}

/* Each key stands in the list, and the list has no other: counted by its colons. */
static void check_published(const char *path, const char *keys)
{
    beam_model_config c;
    json_t *root, *value;
    const char *key;
    size_t listed = 0;
    if (beam_model_config_read(path, &c) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    assert_int_equal(beam_json_read(path, 1 << 20, BEAM_EMODEL, &root), BEAM_OK);
    json_object_foreach(root, key, value)
    {
        char entry[160];
        snprintf(entry, sizeof entry, " %s:%s ", key, treatment_of(beam_family_of(&c), key));
        if (!strstr(keys, entry))
            fail_msg("%s: not in the list:%s", path, entry);
    }
    for (const char *at = keys; (at = strchr(at, ':')); at++)
        listed++;
    assert_int_equal(listed, json_object_size(root));
    beam_json_free(root);
}

static void published_files_hold_no_surprise(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char name[128];
        snprintf(name, sizeof name, "tests/fixtures/configs/%s.json", published[i].file);
        check_published(family_source_path(name), published[i].keys);
    }
}

static bool same_row(const beam_family_key *a, const beam_family_key *b)
{
    return a->treatment == b->treatment && strcmp(a->value, b->value) == 0 && strcmp(a->note, b->note) == 0;
}

static bool in_every_family(const beam_family_key *wanted)
{
    for (int f = 0; f < beam_family_count(); f++) {
        beam_family_key k = {0};
        bool found = false;
        for (int i = 0; !found && beam_family_key_at(beam_family_at(f), i, &k); i++)
            found = strcmp(k.key, wanted->key) == 0 && same_row(&k, wanted);
        if (!found)
            return false;
    }
    return true;
}

/* The keys of f that every family has, or the others: a row each, or for neighbours that say the same. */
static void print_keys(FILE *to, const beam_family *f, bool common)
{
    static const char *const name[] = {"read", "fixed", "ignored"};
    beam_family_key k, last = {0};
    fprintf(to, "| key | | value | meaning, or why it is fixed or ignored |\n|---|---|---|---|\n");
    for (int i = 0; beam_family_key_at(f, i, &k); i++) {
        if (in_every_family(&k) != common)
            continue;
        const bool joined = last.key && same_row(&k, &last);
        if (last.key && !joined)
            fprintf(to, " | %s | %s | %s |\n", name[last.treatment], last.value, last.note);
        fprintf(to, "%s`%s`", joined ? ", " : "| ", k.key);
        last = k;
    }
    fprintf(to, " | %s | %s | %s |\n", name[last.treatment], last.value, last.note);
}

static void print_tables(FILE *to)
{
    fprintf(to, "### All families\n\n");
    print_keys(to, beam_family_at(0), true);
    for (int f = 0; f < beam_family_count(); f++) {
        fprintf(to, "\n### %s\n\n", beam_family_at(f)->model_type);
        print_keys(to, beam_family_at(f), false);
    }
}

/* To renew the page, replace its tables by what this program prints with the argument `tables`. */
static void the_page_has_the_same_tables(void **state)
{
    (void)state;
    char *tables, *page;
    size_t size;
    FILE *to = open_memstream(&tables, &size);
    assert_non_null(to);
    print_tables(to);
    fclose(to);
    page = scratch_read(family_source_path("docs/families.md"), &size);
    if (!strstr(page, tables))
        fail_msg("docs/families.md: the tables of keys are old; this program prints them with `tables`");
    free(page);
    free(tables);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "tables") == 0) {
        print_tables(stdout);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(treatment_is_as_promised),     cmocka_unit_test(keys_stand_once),
        cmocka_unit_test(prefixes_and_nulls),           cmocka_unit_test(published_files_hold_no_surprise),
        cmocka_unit_test(the_page_has_the_same_tables),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
