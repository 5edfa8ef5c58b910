/* The rules of pruning on weights that leave no rounding: which candidates run, and with what weights. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "ops/host_backend.h"
#include "support/block.h"
#include "support/compare.h"
#include "support/values.h"

enum { T = 5, K = 4 };

typedef struct {
    beam_backend be;
    test_block block;
    beam_route route;
    beam_tensor before; /* [T,K] the weights before the rule */
} fixture;

static void push(fixture *f)
{
    f->route = (beam_route){.expert = test_block_push(&f->block, BEAM_I32, BEAM_DIMS(T, K)),
                            .weight = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, K)),
                            .logit = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, K)),
                            .gate = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, K)),
                            .keep = test_block_push(&f->block, BEAM_U8, BEAM_DIMS(T, K)),
                            .kept = test_block_push(&f->block, BEAM_I32, BEAM_DIMS(K))};
    f->before = test_block_push(&f->block, f->be.real, BEAM_DIMS(T, K));
}

/* Every token has the same weights. */
static void prune(fixture *f, const double weight[K], beam_prune_rule rule)
{
    assert_int_equal(op_open_host_backend(&f->be), BEAM_OK);
    f->block = test_block_measure();
    push(f);
    test_block_place(&f->block);
    push(f);
    for (int64_t i = 0; i < T * K; i++) {
        test_set(f->route.expert, i, (double)(i % K));
        test_set(f->route.weight, i, weight[i % K]);
        test_set(f->before, i, weight[i % K]);
    }
    beam_gate_open(&f->be, &f->route, rule);
    assert_int_equal(beam_sync(&f->be), BEAM_OK);
}

static void close_fixture(fixture *f)
{
    assert_true(test_block_guards(&f->block, f->block.bytes));
    test_block_free(&f->block);
    beam_backend_close(&f->be);
}

/* The sum is 24; the best one has a half of it, the best two 2/3, the best three 5/6. */
static void test_rules(void **state)
{
    (void)state;
    const double weight[K] = {12, 4, 4, 4};
    const struct {
        beam_prune_rule rule;
        int kept;
        double gain;
    } rows[] = {
        {{.keep = 4, .share = 1, .anchor = 4}, 4, 1},     {{.keep = 9, .share = 1, .anchor = 0}, 4, 1},
        {{.keep = 2, .share = 1, .anchor = 4}, 2, 1},     {{.keep = 2, .share = 1, .anchor = 9}, 2, 1},
        {{.keep = 2, .share = 1, .anchor = 0}, 2, 1.5},   {{.keep = 1, .share = 1, .anchor = 0}, 1, 2},
        {{.keep = 1, .share = 1, .anchor = 2}, 1, 1.5},   {{.keep = 2, .share = 1, .anchor = 1}, 2, 1.5},
        {{.keep = 0, .share = 1, .anchor = 0}, 0, 1},     {{.keep = 4, .share = 0.5, .anchor = 4}, 1, 1},
        {{.keep = 4, .share = 0.51, .anchor = 4}, 2, 1},  {{.keep = 4, .share = 0.8, .anchor = 4}, 3, 1},
        {{.keep = 4, .share = 0.9, .anchor = 0}, 4, 1},   {{.keep = 1, .share = 0.9, .anchor = 4}, 1, 1},
        {{.keep = 4, .share = 1e-9, .anchor = 4}, 1, 1},  {{.keep = 0, .share = 0.5, .anchor = 0}, 0, 1},
        {{.keep = 4, .share = 0.5, .anchor = 0}, 1, 2},   {{.keep = 4, .share = 0.5, .anchor = 2}, 1, 1.5},
        {{.keep = 4, .share = 0.6, .anchor = 1}, 2, 1.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture f;
        prune(&f, weight, rows[i].rule);
        for (int64_t k = 0; k < T * K; k++) {
            const bool kept = k % K < rows[i].kept;
            assert_int_equal(test_get(f.route.keep, k), kept);
            assert_true(test_get(f.route.weight, k) == weight[k % K] * (kept ? rows[i].gain : 1));
            assert_true(test_get(f.route.gate, k) == 1 && test_get(f.route.logit, k) == 0);
        }
        close_fixture(&f);
    }
}

/* A gain of exactly 1 even where a quotient would be NaN: no weight at all, or one that is NaN. */
static void test_original_weights_keep_their_bits(void **state)
{
    (void)state;
    const double weights[][K] = {
        {0.4, 0.3, 0.2, 0.1}, {0, 0, 0, 0}, {0.5, NAN, 0.2, -0.0}, {INFINITY, 1, 1, 1}};
    const beam_prune_rule rules[] = {{.keep = 2, .share = 1, .anchor = K},
                                     {.keep = K, .share = 1, .anchor = 0},
                                     {.keep = 3, .share = 0.6, .anchor = K}};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        for (size_t j = 0; j < sizeof rules / sizeof rules[0]; j++) {
            fixture f;
            prune(&f, weights[i], rules[j]);
            assert_true(test_same("weight", f.route.weight, f.before));
            close_fixture(&f);
        }
}

/* Nothing comes to a share of NaN: the error is not pruned away. */
static void test_nan_prunes_nothing(void **state)
{
    (void)state;
    const double weight[K] = {0.5, 0.3, NAN, 0.1};
    fixture f;
    prune(&f, weight, (beam_prune_rule){.keep = 3, .share = 0.5, .anchor = K});
    for (int64_t k = 0; k < T * K; k++)
        assert_int_equal(test_get(f.route.keep, k), k % K < 3);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_original_weights_keep_their_bits),
        cmocka_unit_test(test_nan_prunes_nothing),
    };
    return cmocka_run_group_tests_name("ops.pruning", tests, NULL, NULL);
}
