/* Parameters counted from a published config.json, against numbers worked out by hand from its shapes; each
 * agrees with the size its authors give. D 2048 unless noted; per layer all have two norms of D. */
#include <stdio.h>

#include "data/cmocka_all.h"
#include "model/count.h"
#include "model/families/families.h"

static beam_model_config read_config(const char *name)
{
    char path[512];
    beam_model_config c;
    snprintf(path, sizeof path, "%s/%s.json", BEAM_TEST_CONFIGS, name);
    if (beam_model_config_read(path, &c) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return c;
}

static void expect(const char *name, int64_t total, int64_t active)
{
    const beam_model_config c = read_config(name);
    beam_parameter_count n;
    assert_int_equal(beam_model_count(&n, &c), BEAM_OK);
    assert_int_equal(n.total, total);
    assert_int_equal(n.active, active);
    assert_int_equal(n.gates, 0);
}

/* 48 layers: attention 2 * 2048 * 4096 + 2 * 2048 * 512 + 2 * 128, router 128 * 2048, 128 experts of
 * 3 * 2048 * 768, 8 at a time; embedding and head 151936 * 2048 each. "30.5B, 3.3B activated". */
static void qwen3_30b_a3b(void **state)
{
    (void)state;
    expect("Qwen3-30B-A3B", INT64_C(30532122624), INT64_C(3353032704));
}

/* 24 layers: attention 4 * 2048^2 + 3 * 2048 biases, router 60 * 2048, 60 experts of 3 * 2048 * 1408, 4 at a
 * time, shared expert 3 * 2048 * 5632 + 2048; embedding and head as above. "14.3B, 2.7B activated". */
static void qwen15_moe_a27b(void **state)
{
    (void)state;
    expect("Qwen1.5-MoE-A2.7B", INT64_C(14315784192), INT64_C(2689173504));
}

/* 27 layers: attention 2048 * 16 * 192 + 2048 * (512 + 64) + 512 + 512 * 16 * 256 + 16 * 128 * 2048; the
 * first with an MLP of 3 * 2048 * 10944, the others with router 64 * 2048, 64 experts of 3 * 2048 * 1408, 6
 * at a time, and two shared ones; embedding and head 102400 * 2048 each. "15.7B, 2.4B activated" (the authors
 * leave the embedding out of the second number). */
static void deepseek_v2_lite(void **state)
{
    (void)state;
    expect("DeepSeek-V2-Lite", INT64_C(15706484224), INT64_C(2661150208));
}

/* 16 layers: attention 4 * 2048^2 + 2 * 2048, router 64 * 2048, 64 experts of 3 * 2048 * 1024, 8 at a time;
 * embedding and head 50304 * 2048 each. "6.9B, 1.3B activated". */
static void olmoe_1b_7b(void **state)
{
    (void)state;
    expect("OLMoE-1B-7B-0125-Instruct", INT64_C(6919161856), INT64_C(1282017280));
}

/* D 4096; 32 layers: attention 2 * 4096^2 + 2 * 4096 * 1024, router 8 * 4096, 8 experts of 3 * 4096 * 14336,
 * 2 at a time; embedding and head 32000 * 4096 each. "46.7B, 12.9B activated". */
static void mixtral_8x7b(void **state)
{
    (void)state;
    expect("Mixtral-8x7B-v0.1", INT64_C(46702792704), INT64_C(12879925248));
}

/* Gates come on top, per MoE layer: W_m and d [128,2048] each, b [128], a [1], c [8]. */
static void mask_gates(void **state)
{
    (void)state;
    beam_model_config c = read_config("Qwen3-30B-A3B");
    beam_parameter_count n;
    c.mask = (beam_mask_config){.present = true, .threshold = 0.5};
    assert_int_equal(beam_model_count(&n, &c), BEAM_OK);
    assert_int_equal(n.gates, 48 * 128 * 2048);
    c.mask.bias = c.mask.router_features = c.mask.give_back = true;
    assert_int_equal(beam_model_count(&n, &c), BEAM_OK);
    assert_int_equal(n.total, INT64_C(30532122624));
    assert_int_equal(n.active, INT64_C(3353032704));
    assert_int_equal(n.gates, 48 * (2 * 128 * 2048 + 128 + 1 + 8));
}

/* A tied head is the embedding: counted once. */
static void tied_head(void **state)
{
    (void)state;
    beam_model_config c = read_config("Qwen3-30B-A3B");
    beam_parameter_count n;
    c.tie_word_embeddings = true;
    assert_int_equal(beam_model_count(&n, &c), BEAM_OK);
    assert_int_equal(n.total, INT64_C(30532122624) - 151936 * 2048);
    assert_int_equal(n.active, INT64_C(3353032704) - 151936 * 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen3_30b_a3b),    cmocka_unit_test(qwen15_moe_a27b),
        cmocka_unit_test(deepseek_v2_lite), cmocka_unit_test(olmoe_1b_7b),
        cmocka_unit_test(mixtral_8x7b),     cmocka_unit_test(mask_gates),
        cmocka_unit_test(tied_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
