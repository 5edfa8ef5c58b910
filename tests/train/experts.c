/* What experts do on real tokens: counts, weights and peaks, and the rule that tells super experts. */
#include "train/experts.h"

#include <math.h>

#include "train/planted.h"
#include "train/tiny_run.h"

enum { LAYERS = 2, EXPERTS = 6, TOP_K = 3, MOST_TOKENS = 64 };

static void rule_of_super_experts(void **state)
{
    (void)state;
    enum { MANY = 1000, FEW = 12 };
    static beam_expert_use many[MANY];
    for (int i = 0; i < MANY; i++)
        many[i].peak = 2 - 1e-3 * i;
    assert_int_equal(beam_super_experts(many, MANY), 5); /* half a percent */
    assert_true(many[4].super && !many[5].super);
    many[0].peak = 1000;
    many[1].peak = 101;
    many[2].peak = 99; /* not a tenth of the largest */
    assert_int_equal(beam_super_experts(many, MANY), 2);
    assert_true(many[0].super && many[1].super && !many[2].super && !many[4].super);

    beam_expert_use few[FEW] = {{.peak = 1000}, {.peak = 300}, {.peak = 21}};
    for (int i = 3; i < FEW; i++)
        few[i].peak = 2; /* 21 is above ten times the median, but no tenth of the largest */
    assert_int_equal(beam_super_experts(few, FEW), 2);
    few[0].peak = few[1].peak = 20;
    few[2].peak = 2;
    assert_int_equal(beam_super_experts(few, FEW), 0);
    for (int i = 0; i < FEW; i++)
        few[i].peak = 0; /* never a candidate */
    assert_int_equal(beam_super_experts(few, FEW), 0);
}

static void profile_finds_what_was_planted(void **state)
{
    (void)state;
    beam_backend be;
    beam_model *m = planted_open(&be, MOST_TOKENS);
    beam_loader *l = planted_tokens();
    beam_expert_profile before, after;
    planted_need(beam_expert_profile_make(m, l, 4, 2, &before));
    assert_int_equal(before.n, LAYERS * EXPERTS);
    assert_int_equal(before.super, 0);
    double candidates = 0, weights = 0;
    for (int64_t i = 0; i < before.n; i++) {
        candidates += (double)before.at[i].candidate;
        weights += before.at[i].weight * (double)before.at[i].candidate;
    }
    const double pairs = (double)(before.tokens * LAYERS);
    assert_true(before.tokens > 64 && before.tokens <= 128 && candidates == pairs * TOP_K);
    assert_true(fabs(weights - pairs) < 1e-4 * pairs); /* a token's weights add up to 1 */

    planted_grow(m);
    planted_need(beam_expert_profile_make(m, l, 4, 2, &after));
    assert_int_equal(after.super, 1);
    assert_true(after.at[0].super && after.at[0].layer == PLANTED_LAYER &&
                after.at[0].expert == PLANTED_EXPERT);
    double plain = 0;
    for (int64_t i = 0; i < before.n; i++)
        if (before.at[i].layer == PLANTED_LAYER && before.at[i].expert == PLANTED_EXPERT)
            plain = before.at[i].peak;
    assert_true(plain > 0 && fabs(after.at[0].peak - 1000 * plain) < plain);

    planted_grow(m);
    for (int i = 0; i < 12; i++) /* beyond what a float holds */
        planted_grow(m);
    beam_expert_profile broken;
    assert_int_equal(beam_expert_profile_make(m, l, 4, 2, &broken), BEAM_ENUMERIC);
    assert_true(message_has("expert 4 of layer 1 puts out numbers that are not finite"));
    beam_expert_profile_free(&before);
    beam_expert_profile_free(&after);
    beam_loader_close(l);
    beam_model_close(m);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rule_of_super_experts),
        cmocka_unit_test(profile_finds_what_was_planted),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
