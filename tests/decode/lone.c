/* Lone pairs: which are dropped or moved, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/lone.h"

enum { TOKENS = 3, K = 3, EXPERTS = 6, SLOTS = TOKENS * K };

typedef struct {
    int32_t id[SLOTS], candidate[SLOTS];
    float weight[SLOTS], gain[SLOTS];
} step;

/* Token 0 keeps 0 and 1, token 1 keeps 0 and 2, token 2 keeps 3; 1, 2 and 3 have one reader each. The third
 * candidate of token 0 is null. Weights are twice the gains, as pruning may scale them. */
static step example(void)
{
    step s = {.candidate = {0, 1, 6, 0, 2, 5, 3, 4, 0},
              .gain = {.5f, .3f, .2f, .6f, .3f, .1f, .5f, .3f, .2f}};
    const int keep[SLOTS] = {1, 1, 0, 1, 1, 0, 1, 0, 0};
    for (int i = 0; i < SLOTS; i++) {
        s.id[i] = keep[i] ? s.candidate[i] : -1;
        s.weight[i] = keep[i] ? 2 * s.gain[i] : 0;
    }
    return s;
}

static void apply(step *s, beam_lone_action action, double share)
{
    int32_t readers[EXPERTS];
    const beam_lone_rule rule = {action, share};
    const beam_moe_pairs pairs = {s->id, s->weight, s->candidate, s->gain};
    beam_lone_apply(&rule, &pairs, TOKENS, K, EXPERTS, readers);
}

static void assert_step(const step *s, const int32_t *id, const float *weight)
{
    assert_memory_equal(s->id, id, sizeof s->id);
    for (int i = 0; i < SLOTS; i++)
        assert_true(s->weight[i] == weight[i]);
}

static void kept_by_default(void **state)
{
    (void)state;
    step s = example();
    const step before = s;
    apply(&s, BEAM_LONE_KEEP, 1);
    assert_step(&s, before.id, before.weight);
}

/* 0 has two readers; 3 is lone too, but has half of its token's weight. */
static void dropped_below_a_share(void **state)
{
    (void)state;
    step s = example();
    apply(&s, BEAM_LONE_DROP, 0.4);
    assert_step(&s, (int32_t[]){0, -1, -1, 0, -1, -1, 3, -1, -1}, (float[]){1, 0, 0, 1.2f, 0, 0, 1, 0, 0});
    apply(&s, BEAM_LONE_DROP, 1);
    assert_step(&s, (int32_t[]){0, -1, -1, 0, -1, -1, -1, -1, -1}, (float[]){1, 0, 0, 1.2f, 0, 0, 0, 0, 0});
}

/* Token 2's expert 3 goes to 0, its last candidate, since nobody reads 4; the others have nowhere to go. */
static void moved_to_what_is_read(void **state)
{
    (void)state;
    step s = example();
    apply(&s, BEAM_LONE_MOVE, 1);
    assert_step(&s, (int32_t[]){0, 1, -1, 0, 2, -1, -1, -1, 0},
                (float[]){1, .6f, 0, 1.2f, .6f, 0, 0, 0, .4f});
}

static void names(void **state)
{
    (void)state;
    beam_lone_action action;
    assert_int_equal(beam_lone_read("move", &action), BEAM_OK);
    assert_int_equal(action, BEAM_LONE_MOVE);
    assert_int_equal(beam_lone_read("most", &action), BEAM_ECONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_by_default),
        cmocka_unit_test(dropped_below_a_share),
        cmocka_unit_test(moved_to_what_is_read),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
