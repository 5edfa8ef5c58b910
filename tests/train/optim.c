/* Learning-rate schedules, clipping, the target controller, and the fixed tree of gradient sums. */
#include <math.h>
#include <string.h>

#include "comm/tree.h"
#include "data/cmocka_all.h"
#include "optim/clip.h"
#include "optim/schedule.h"
#include "optim/target.h"

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * (1 + fabs(b));
}

static void schedules(void **state)
{
    (void)state;
    beam_schedule s = {.kind = BEAM_DECAY_COSINE, .peak = 2, .min_ratio = 0.1, .warmup = 4, .total = 12};
    assert_true(near(beam_learning_rate(&s, 1), 0.5));
    assert_true(near(beam_learning_rate(&s, 4), 2));
    assert_true(near(beam_learning_rate(&s, 5), 2));
    assert_true(near(beam_learning_rate(&s, 9), 1.1)); /* halfway between 2 and 0.2 */
    assert_true(near(beam_learning_rate(&s, 13), 0.2));
    assert_true(near(beam_learning_rate(&s, 99), 0.2));
    s.kind = BEAM_DECAY_LINEAR;
    assert_true(near(beam_learning_rate(&s, 7), 2 - 1.8 / 4));
    s.kind = BEAM_DECAY_CONSTANT;
    assert_true(near(beam_learning_rate(&s, 12), 2));
    s.warmup = 0;
    assert_true(near(beam_learning_rate(&s, 1), 2));
}

static void clipping(void **state)
{
    (void)state;
    assert_true(near(beam_clip_scale(4, 1), 0.25));
    assert_true(near(beam_clip_scale(0.5, 1), 1));
    assert_true(near(beam_clip_scale(1e9, 0), 1));
}

static void controller(void **state)
{
    (void)state;
    const beam_target t = {.target = 2, .rate = 0.1, .k = 4, .warmup = 0, .total = 10000};
    beam_target_state s = {.base = 0, .average_active = -1};
    assert_true(beam_target_penalty(&t, &s, 0) == 0);
    beam_target_update(&t, &s, 1, 4);
    assert_true(near(s.average_active, 4) && near(s.base, 0.1 * log(2)));
    assert_true(near(beam_target_penalty(&t, &s, 1), 0.1 * log(2) + 0.1 * 20 * log(2)));
    beam_target_update(&t, &s, 2, 3);
    assert_true(near(s.average_active, 4 - 1.0 / 3) && near(s.base, 0.1 * (log(2) + log(11.0 / 6))));
    for (int i = 3; i < 200; i++)
        beam_target_update(&t, &s, i, 1);                              /* below the target */
    assert_true(s.base == 0 && beam_target_penalty(&t, &s, 200) < -1); /* and opens masks again */
    beam_target_update(&t, &s, 200, 0);
    assert_true(isfinite(beam_target_penalty(&t, &s, 200)));

    const beam_target slow = {.target = 2, .rate = 0.1, .k = 4, .warmup = 10, .total = 10000};
    s = (beam_target_state){.base = 0.2, .average_active = 3};
    beam_target_update(&slow, &s, 5, 3); /* halfway the goal is 3 itself, and nothing is remembered yet */
    assert_true(near(s.base, 0.2) && near(beam_target_penalty(&slow, &s, 5), 0.2));
}

/* The last seventh: beta stands still, and what is left of the error moves the gates themselves. */
static void controller_offset(void **state)
{
    (void)state;
    const beam_target t = {.target = 2, .rate = 0.1, .k = 8, .warmup = 10, .total = 70};
    beam_target_state s = {.base = 0.4, .average_active = 3};
    assert_true(beam_target_offset(&t, &s, 60) == 0);
    assert_true(beam_target_penalty(&t, &s, 59) > 0.5);
    assert_true(near(beam_target_offset(&t, &s, 61), -log(1.5)));
    assert_true(near(beam_target_penalty(&t, &s, 60), 0.4));
    double active = 3;
    for (int64_t step = 61; step <= 70; step++) { /* a plant whose average follows the logits at once */
        beam_target_update(&t, &s, step, active);
        active *= exp(0.5 * beam_target_offset(&t, &s, step));
    }
    assert_true(near(s.base, 0.4));
    assert_true(fabs(active - 2) <= 0.05);

    const beam_target all_warmup = {.target = 2, .rate = 0.1, .k = 8, .warmup = 70, .total = 70};
    assert_true(beam_target_offset(&all_warmup, &s, 70) == 0);
}

/* A plant as masks are: the average falls at a speed that the penalty decides. */
static void controller_settles(void **state)
{
    (void)state;
    const beam_target t = {.target = 2, .rate = 0.1, .k = 8, .warmup = 100, .total = 10000};
    beam_target_state s = {.base = 0, .average_active = -1};
    double active = 8, lowest = 8;
    for (int64_t i = 1; i <= 600; i++) {
        beam_target_update(&t, &s, i, active);
        active += 0.2 * (0.3 - beam_target_penalty(&t, &s, i)); /* at rest where the penalty is 0.3 */
        active = active > 8 ? 8 : active < 0 ? 0 : active;
        lowest = active < lowest ? active : lowest;
    }
    assert_true(fabs(active - 2) <= 0.02 && fabs(s.base - 0.3) <= 0.01);
    assert_true(lowest > 1.5);
}

/* Leaves whose sum depends on the order of additions; the tree's order is written out. */
static void tree(void **state)
{
    (void)state;
    enum { MOST = 9, WIDTH = 3 };
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    for (int64_t leaves = 1; leaves <= MOST; leaves++) {
        float grads[WIDTH] __attribute__((aligned(64))) = {0}, leaf[MOST];
        beam_tree t;
        assert_int_equal(beam_tree_open(&t, beam_view(grads, BEAM_F32, BEAM_DIMS(WIDTH)), leaves, &be),
                         BEAM_OK);
        for (int pass = 0; pass < 2; pass++) { /* a tree serves step after step */
            for (int64_t i = 0; i < leaves; i++) {
                leaf[i] = (float)(1.0 + 1.0 / (double)(i + 3)) * (i % 2 ? 1e-3f : 1e4f);
                for (int j = 0; j < WIDTH; j++)
                    grads[j] += leaf[i];
                beam_tree_push(&t, &be);
            }
            /* Pairs, then pairs of pairs, what is left over joining at the end. */
            int64_t n = leaves;
            while (n > 1) {
                for (int64_t i = 0; i < n / 2; i++)
                    leaf[i] = leaf[2 * i] + leaf[2 * i + 1];
                if (n % 2)
                    leaf[n / 2] = leaf[n - 1];
                n = (n + 1) / 2;
            }
            assert_memory_equal(&grads[0], &leaf[0], sizeof(float));
            assert_memory_equal(&grads[2], &leaf[0], sizeof(float));
            memset(grads, 0, sizeof grads);
        }
        beam_tree_close(&t, &be);
    }
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules),          cmocka_unit_test(clipping),
        cmocka_unit_test(controller),         cmocka_unit_test(controller_offset),
        cmocka_unit_test(controller_settles), cmocka_unit_test(tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
