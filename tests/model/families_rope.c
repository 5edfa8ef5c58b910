/* Rotary positions: both forms of config.json, every refusal, and the tables against numbers of transformers
 * 5.23 (inv_freq of its rotary embeddings, float32). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"
#include "model/family_text.h"
#include "model/rope.h"

#define QWEN3 FAMILY("qwen3_moe") ", \"head_dim\": 16, \"max_position_embeddings\": 4096"

static void check_same(const char *older, const char *newer)
{
    const beam_model_config a = family_accept(older), b = family_accept(newer);
    assert_int_equal(a.rope.kind, b.rope.kind);
    assert_int_equal(a.rope.original_positions, b.rope.original_positions);
    assert_int_equal(a.rope.truncate, b.rope.truncate);
    assert_true(a.rope.theta == b.rope.theta && a.rope.factor == b.rope.factor);
    assert_true(a.rope.beta_fast == b.rope.beta_fast && a.rope.beta_slow == b.rope.beta_slow);
    assert_true(a.rope.amplitude == b.rope.amplitude && a.score_scale == b.score_scale);
}

static void both_forms_say_the_same(void **state)
{
    (void)state;
    check_same("{\"rope_theta\": 500, " QWEN3 "}",
               "{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500}, " QWEN3 "}");
    check_same(
        "{\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}, " QWEN3 "}",
        "{\"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 500, \"factor\": 3.0}, " QWEN3
        "}");
    check_same("{\"rope_theta\": 500.0, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40, "
               "\"original_max_position_embeddings\": 512, \"mscale\": 0.7, \"mscale_all_dim\": 0.5, "
               "\"truncate\": false}, " FAMILY("deepseek_v2") "}",
               "{\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 500, \"factor\": 40, "
               "\"original_max_position_embeddings\": 512, \"mscale\": 0.7, \"mscale_all_dim\": 0.5, "
               "\"truncate\": false}, " FAMILY("deepseek_v2") "}");
    /* Both at once, agreeing. */
    family_accept(
        "{\"rope_theta\": 500, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 3}, "
        "\"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 500, \"factor\": 3}, " QWEN3 "}");
}

static void yarn_fills_in_what_is_missing(void **state)
{
    (void)state;
    const beam_model_config c = family_accept(
        "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": null}, " QWEN3 "}");
    assert_int_equal(c.rope.kind, BEAM_ROPE_YARN);
    assert_int_equal(c.rope.original_positions, 4096);
    assert_true(c.rope.beta_fast == 32 && c.rope.beta_slow == 1 && c.rope.truncate);
    assert_true(fabs(c.rope.amplitude - (0.1 * log(4) + 1)) < 1e-15);
    assert_true(c.score_scale == 0.25); /* mscale_all_dim is DeepSeek's alone */
    const beam_model_config ratio =
        family_accept("{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": null, \"truncate\": null, "
                      "\"original_max_position_embeddings\": 512, \"attention_factor\": 1.5}, " QWEN3 "}");
    assert_true(ratio.rope.factor == 8 && !ratio.rope.truncate && ratio.rope.amplitude == 1.5);
    const beam_model_config score = family_accept(
        "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40, \"mscale\": 1, \"mscale_all_dim\": 0.5}, "
        "\"max_position_embeddings\": 4096, " FAMILY("qwen3_moe") "}");
    assert_true(score.score_scale == 0.25);
    assert_true(fabs(score.rope.amplitude - (0.1 * log(40) + 1) / (0.05 * log(40) + 1)) < 1e-15);
}

static void refusals(void **state)
{
    (void)state;
    static const family_refusal cases[] = {
        {"{\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}, " QWEN3 "}", "is \"dynamic\"; beam"},
        {"{\"rope_scaling\": {\"rope_type\": \"longrope\"}, " QWEN3 "}", "is \"longrope\"; beam"},
        {"{\"rope_parameters\": {\"rope_type\": \"llama3\"}, " QWEN3 "}", "is \"llama3\"; beam"},
        {"{\"rope_parameters\": {\"rope_type\": \"proportional\"}, " QWEN3 "}", "is \"proportional\"; beam"},
        {"{\"rope_parameters\": {\"rope_type\": 3}, " QWEN3 "}", "rope_parameters.rope_type"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"rope_type\": \"linear\", \"factor\": 2}, " QWEN3 "}",
         "differ"},
        {"{\"rope_scaling\": {\"type\": \"linear\"}, " QWEN3 "}", "\"rope_scaling.factor\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": null}, " QWEN3 "}", "factor\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}, " QWEN3 "}", "rope_scaling.factor"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"mscale\": 1}, " QWEN3 "}",
         "\"rope_scaling.mscale\" of rope_type linear"},
        {"{\"rope_scaling\": {\"type\": \"yarn\"}, " QWEN3 "}", "\"rope_scaling.factor\" is missing"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 0}, " QWEN3 "}", "beta_fast"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"beta_slow\": 1e-300}, " QWEN3 "}",
         "beta_slow"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"attention_factor\": 0}, " QWEN3 "}",
         "attention_factor"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 1e99}, " QWEN3 "}", "rope_scaling.factor"},
        {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"original_max_position_embeddings\": "
         "0}, " QWEN3 "}",
         "original_max_position_embeddings"},
        {"{\"rope_parameters\": {\"rope_theta\": 1}, " QWEN3 "}", "rope_parameters.rope_theta"},
        {"{\"rope_parameters\": {\"mrope_section\": [1, 2]}, " QWEN3 "}", "rope_parameters.mrope_section"},
        {"{\"rope_parameters\": {\"partial_rotary_factor\": 0.5}, " QWEN3 "}", "partial_rotary_factor"},
        {"{\"partial_rotary_factor\": 0.5, " QWEN3 "}", "partial_rotary_factor"},
        {"{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}, " QWEN3 "}",
         "rope_parameters.full_attention"},
        {"{\"rope_theta\": 400, \"rope_parameters\": {\"rope_theta\": 500}, " QWEN3 "}", "rope_theta"},
        {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, "
         "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 3}, " QWEN3 "}",
         "\"rope_scaling\" and \"rope_parameters\" differ"},
    };
    family_refuse(cases, sizeof cases / sizeof *cases);
}

enum { POSITIONS = 600, MOST = 32 };

/* One unit in the last place of a frequency moves the angle of position p by p of them. */
static void check_float(const beam_rope_config *rope, const float *frequency, int64_t half)
{
    static float c[POSITIONS * MOST], s[POSITIONS * MOST];
    beam_rope_table(beam_view(c, BEAM_F32, BEAM_DIMS(POSITIONS, half)),
                    beam_view(s, BEAM_F32, BEAM_DIMS(POSITIONS, half)), rope);
    for (int64_t p = 0; p < POSITIONS; p++)
        for (int64_t i = 0; i < half; i++) {
            const double angle = (double)((float)p * frequency[i]);
            const double tolerance = 1.5e-7 * rope->amplitude * (1 + 2 * angle);
            assert_true(fabs((double)c[p * half + i] - rope->amplitude * cos(angle)) <= tolerance);
            assert_true(fabs((double)s[p * half + i] - rope->amplitude * sin(angle)) <= tolerance);
        }
}

/* The double table has no roundings of its own: the frequency it was made with is near the float one. */
static void check_double(const beam_rope_config *rope, const float *frequency, int64_t half)
{
    double c[2 * MOST], s[2 * MOST];
    beam_rope_table(beam_view(c, BEAM_F64, BEAM_DIMS(2, half)), beam_view(s, BEAM_F64, BEAM_DIMS(2, half)),
                    rope);
    for (int64_t i = 0; i < half; i++) {
        const double found = atan2(s[half + i], c[half + i]);
        assert_true(fabs(found - (double)frequency[i]) <= 4e-7 * (double)frequency[i]);
        assert_true(fabs(hypot(s[half + i], c[half + i]) - rope->amplitude) <= 1e-12);
    }
}

static void check_table(const char *text, double amplitude, const float *frequency, int64_t half)
{
    const beam_model_config c = family_accept(text);
    assert_int_equal(c.rotary_dim, 2 * half);
    assert_true(fabs(c.rope.amplitude - amplitude) <= 1e-15 * amplitude);
    check_float(&c.rope, frequency, half);
    check_double(&c.rope, frequency, half);
}

static void tables_are_those_of_transformers(void **state)
{
    (void)state;
    check_table("{\"rope_theta\": 1e6, " QWEN3 "}", 1,
                (const float[]){1.0f, 0.177827939f, 0.0316227786f, 0.00562341325f, 0.00100000005f,
                                0.00017782794f, 3.16227743e-05f, 5.62341347e-06f},
                8);
    check_table("{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 3.0}, " QWEN3 "}", 1,
                (const float[]){0.333333343f, 0.105409257f, 0.0333333351f, 0.0105409259f, 0.00333333318f,
                                0.00105409266f, 0.000333333359f, 0.000105409265f},
                8);
    check_table("{\"rope_theta\": 1e6, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, "
                "\"original_max_position_embeddings\": 1024}, " QWEN3 "}",
                1.138629436111989,
                (const float[]){1.0f, 0.133370951f, 0.0158113893f, 0.00140585331f, 0.000250000012f,
                                4.44569851e-05f, 7.90569356e-06f, 1.40585337e-06f},
                8);
    check_table("{\"rope_theta\": 150000, \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32.0, "
                "\"original_max_position_embeddings\": 4096, \"truncate\": false, \"beta_fast\": 32.0, "
                "\"beta_slow\": 1.0}, " QWEN3 "}",
                1.3465735902799727,
                (const float[]){1.0f, 0.225418001f, 0.0508132726f, 0.00679495931f, 0.000456483918f,
                                1.8188337e-05f, 4.09997847e-06f, 9.24208962e-07f},
                8);
    check_table("{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 40, \"beta_fast\": 64, "
                "\"beta_slow\": 2, \"original_max_position_embeddings\": 4096, \"mscale\": 1.0, "
                "\"mscale_all_dim\": 0.5}, " QWEN3 "}",
                1.1557219901962608,
                (const float[]){1.0f, 0.316227764f, 0.100000001f, 0.0239147246f, 0.00512499968f,
                                0.000849862176f, 2.49999994e-05f, 7.90569447e-06f},
                8);
}

static void deepseek_v2_lite_rotates_as_published(void **state)
{
    (void)state;
    static const float frequency[] = {1.0f,
                                      0.749894202f,
                                      0.562341332f,
                                      0.421696514f,
                                      0.316227764f,
                                      0.237137362f,
                                      0.177827939f,
                                      0.133352146f,
                                      0.100000001f,
                                      0.0749894157f,
                                      0.0562341288f,
                                      0.0390069261f,
                                      0.0268793609f,
                                      0.0183781441f,
                                      0.012447956f,
                                      0.0083345091f,
                                      0.00550000044f,
                                      0.00356199732f,
                                      0.00224936521f,
                                      0.00137051346f,
                                      0.000790569407f,
                                      0.000414990413f,
                                      0.00017782794f,
                                      3.3338034e-05f,
                                      2.49999994e-05f,
                                      1.87473543e-05f,
                                      1.40585325e-05f,
                                      1.05424124e-05f,
                                      7.90569447e-06f,
                                      5.92843435e-06f,
                                      4.44569832e-06f,
                                      3.33380353e-06f};
    beam_model_config c;
    assert_int_equal(
        beam_model_config_read(family_source_path("tests/fixtures/configs/DeepSeek-V2-Lite.json"), &c),
        BEAM_OK);
    assert_true(fabs(c.score_scale - 0.1147213867929261) <= 1e-15);
    assert_true(c.rope.amplitude == 1);
    check_float(&c.rope, frequency, 32);
    check_double(&c.rope, frequency, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_forms_say_the_same),
        cmocka_unit_test(yarn_fills_in_what_is_missing),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tables_are_those_of_transformers),
        cmocka_unit_test(deepseek_v2_lite_rotates_as_published),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
