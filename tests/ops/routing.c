/* Invariants of routing that hold for every input: the plan is a grouping, candidates are valid even when the
 * router's logits are not, and the interleaved layout of gate and up is a permutation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "kernels/ops.h"
#include "ops/host_backend.h"
#include "support/block.h"
#include "support/values.h"

typedef struct {
    int32_t T, E, K;
    beam_route route;
    beam_tensor logits, prob;
} fixture;

static void push(test_block *b, beam_dtype real, fixture *f)
{
    const int64_t T = f->T, E = f->E, K = f->K;
    f->route.expert = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K));
    f->route.weight = test_block_push(b, real, BEAM_DIMS(T, K));
    f->route.keep = test_block_push(b, BEAM_U8, BEAM_DIMS(T, K));
    f->route.row = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K));
    f->route.pair = test_block_push(b, BEAM_I32, BEAM_DIMS(T * K));
    f->route.first = test_block_push(b, BEAM_I32, BEAM_DIMS(E + 1));
    f->route.kept = test_block_push(b, BEAM_I32, BEAM_DIMS(E));
    f->logits = test_block_push(b, real, BEAM_DIMS(T, E));
    f->prob = test_block_push(b, real, BEAM_DIMS(T, E));
}

static test_block open_fixture(fixture *f, const beam_backend *be)
{
    test_block b = test_block_measure();
    push(&b, be->real, f);
    test_block_place(&b);
    push(&b, be->real, f);
    return b;
}

static const int32_t *i32(beam_tensor t)
{
    return t.data;
}

/* row and pair are inverse to each other, rows of an expert are its own, kept ones first, each part in order
 * of pairs. */
static void check_plan(const fixture *f)
{
    const int32_t R = f->T * f->K;
    const uint8_t *keep = f->route.keep.data;
    const int32_t *row = i32(f->route.row), *pair = i32(f->route.pair), *first = i32(f->route.first);
    assert_int_equal(first[0], 0);
    assert_int_equal(first[f->E], R);
    for (int32_t r = 0; r < R; r++) {
        assert_in_range(pair[r], 0, R - 1);
        assert_int_equal(row[pair[r]], r);
    }
    for (int32_t e = 0; e < f->E; e++) {
        const int32_t middle = first[e] + i32(f->route.kept)[e];
        assert_true(first[e] <= middle && middle <= first[e + 1]);
        for (int32_t r = first[e]; r < first[e + 1]; r++) {
            assert_int_equal(i32(f->route.expert)[pair[r]], e);
            assert_int_equal(keep[pair[r]] != 0, r < middle);
            assert_true(r == first[e] || r == middle || pair[r - 1] < pair[r]);
        }
    }
}

static void test_plan(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(op_open_host_backend(&be), BEAM_OK);
    for (uint64_t round = 0; round < 60; round++) {
        fixture f = {.T = 1 + (int32_t)(beam_random_bits(1, round, 0) % 90),
                     .E = 1 + (int32_t)(beam_random_bits(1, round, 1) % 70)};
        f.K = 1 + (int32_t)(beam_random_bits(1, round, 2) % (uint64_t)(f.E < 9 ? f.E : 9));
        test_block b = open_fixture(&f, &be);
        const double density = test_uniform("density", (int64_t)round, -0.3, 1.3);
        for (int64_t i = 0; i < f.T * f.K; i++) {
            const uint64_t stream = round << 32 | (uint64_t)(i / f.K);
            test_set(f.route.expert, i,
                     (double)beam_random_permute(2, stream, (uint64_t)(i % f.K), (uint64_t)f.E));
            test_set(f.route.keep, i, test_uniform("keep", i, 0, 1) < density);
        }
        beam_route_plan(&be, &f.route);
        assert_int_equal(beam_sync(&be), BEAM_OK);
        check_plan(&f);
        assert_true(test_block_guards(&b, b.bytes));
        test_block_free(&b);
    }
    beam_backend_close(&be);
}

static const beam_router_rule no_limit = {.normalize = true, .scale = 1, .groups = 1, .kept_groups = 1};

/* Equal scores: the lower id first. Every probability of a token is the same here. */
static void test_ties(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(op_open_host_backend(&be), BEAM_OK);
    fixture f = {.T = 5, .E = 11, .K = 4};
    test_block b = open_fixture(&f, &be);
    test_fill(f.logits, 0.7);
    test_set(f.logits, 4 * f.E + 9, 3); /* the last token has one winner */
    beam_router_topk(&be, &f.route, f.prob, f.logits, no_limit);
    for (int32_t i = 0; i < 4 * f.K; i++)
        assert_int_equal(i32(f.route.expert)[i], i % f.K);
    const int32_t last[] = {9, 0, 1, 2};
    assert_memory_equal(i32(f.route.expert) + 4 * f.K, last, sizeof last);
    test_block_free(&b);
    beam_backend_close(&be);
}

/* The best of each group decides; equal groups: the lower one. */
static void test_groups(void **state)
{
    (void)state;
    enum { E = 8, K = 3 };
    const struct {
        int groups, kept;
        double logit[E];
        int32_t candidate[K];
    } rows[] = {
        {4, 2, {1, 0, 5, -9, 4, 4, 5, 3}, {2, 6, 7}}, /* 4 and 5 beat 3, their group does not */
        {4, 2, {2, 2, 2, 2, 2, 2, 2, 2}, {0, 1, 2}},
        {4, 2, {1, 1, 3, 0, 3, 0, 3, 2}, {2, 4, 3}},
        {4, 2, {-INFINITY, NAN, NAN, 7, NAN, NAN, NAN, NAN}, {3, 0, 1}},
        {2, 1, {9, -1, -2, -3, 8, 8, 8, 8}, {0, 1, 2}},
        {2, 1, {0, 0, 0, 0, 0, 0, 1, 0}, {6, 4, 5}},
        {8, 3, {0, 3, 1, 3, 2, 2, 3, 4}, {7, 1, 3}},
        {8, 8, {0, 3, 1, 3, 2, 2, 3, 4}, {7, 1, 3}},
        {2, 2, {9, -1, -2, -3, 8, 8, 8, 8}, {0, 4, 5}},
    };
    beam_backend be;
    assert_int_equal(op_open_host_backend(&be), BEAM_OK);
    fixture f = {.T = 1, .E = E, .K = K};
    test_block b = open_fixture(&f, &be);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int64_t e = 0; e < E; e++)
            test_set(f.logits, e, rows[i].logit[e]);
        const beam_router_rule rule = {.scale = 1, .groups = rows[i].groups, .kept_groups = rows[i].kept};
        beam_router_topk(&be, &f.route, f.prob, f.logits, rule);
        assert_memory_equal(i32(f.route.expert), rows[i].candidate, sizeof rows[i].candidate);
    }
    assert_true(test_block_guards(&b, b.bytes));
    test_block_free(&b);
    beam_backend_close(&be);
}

/* A null expert far above all others: they run, at weight 0, and no gradient overflows. One that is as good
 * as the best: it has no part in the weights. */
static void test_nulls(void **state)
{
    (void)state;
    const double logit[2][4] = {{1, -1, 0, 85}, {2, 0, 1, 2}};
    const int32_t candidate[2][3] = {{3, 0, 2}, {0, 3, 2}};
    beam_backend be;
    assert_int_equal(op_open_host_backend(&be), BEAM_OK);
    fixture f = {.T = 2, .E = 4, .K = 3};
    test_block b = open_fixture(&f, &be);
    beam_route route = f.route;
    route.kept = beam_rows(route.kept, 0, 3);
    for (int64_t i = 0; i < 8; i++)
        test_set(f.logits, i, logit[i / 4][i % 4]);
    beam_router_topk(&be, &route, f.prob, f.logits, no_limit);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(i32(route.expert)[i], candidate[i / 3][i % 3]);
        const double share = i == 3 ? 1 / (1 + exp(-1)) : i == 5 ? 1 / (1 + exp(1)) : 0;
        assert_true(fabs(test_get(route.weight, i) - share) <= 1e-6);
        test_set(route.weight, i, i == 1 ? 3000 : i == 2 ? -3000 : 0.3); /* from here on dweight */
    }
    beam_router_grad(&be, f.logits, route.weight, &route, f.prob, (beam_tensor){0}, (beam_tensor){0},
                     no_limit);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    for (int64_t i = 0; i < 8; i++)
        assert_true(fabs(test_get(f.logits, i)) <= 1e-6);
    test_block_free(&b);
    beam_backend_close(&be);
}

static int groups_used(const int32_t *expert, int32_t K, int32_t length)
{
    int n = 0;
    for (int32_t k = 0; k < K; k++) {
        bool seen = false;
        for (int32_t j = 0; j < k; j++)
            seen = seen || expert[j] / length == expert[k] / length;
        n += !seen;
    }
    return n;
}

/* Whatever the logits are, candidates are K different experts of groups that may be kept: they become
 * addresses later. */
static void check_candidates(beam_router_rule rule)
{
    const double odd[] = {NAN, -(double)NAN, INFINITY, -INFINITY, 1e38, -1e38, 0};
    const int n = sizeof odd / sizeof odd[0];
    beam_backend be;
    assert_int_equal(op_open_host_backend(&be), BEAM_OK);
    fixture f = {.T = 300, .E = 12, .K = 5};
    test_block b = open_fixture(&f, &be);
    for (int64_t i = 0; i < f.T * f.E; i++)
        test_set(f.logits, i, odd[beam_random_bits(3, 0, (uint64_t)i) % (i < 12 ? 2 : (uint64_t)n)]);
    beam_router_topk(&be, &f.route, f.prob, f.logits, rule);
    for (int32_t t = 0; t < f.T; t++) {
        const int32_t *expert = i32(f.route.expert) + t * f.K;
        for (int32_t k = 0; k < f.K; k++) {
            assert_in_range(expert[k], 0, f.E - 1);
            for (int32_t j = 0; j < k; j++)
                assert_int_not_equal(expert[j], expert[k]);
        }
        assert_true(groups_used(expert, f.K, f.E / rule.groups) <= rule.kept_groups);
    }
    assert_true(test_block_guards(&b, b.bytes));
    test_block_free(&b);
    beam_backend_close(&be);
}

static void test_candidates_are_valid(void **state)
{
    (void)state;
    const int limits[][2] = {{1, 1}, {3, 2}, {2, 1}, {12, 5}, {4, 4}};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        check_candidates((beam_router_rule){
            .normalize = true, .scale = 1, .groups = limits[i][0], .kept_groups = limits[i][1]});
}

static void test_interleaving(void **state)
{
    (void)state;
    enum { MOST = 70 };
    for (int64_t F = 1; F <= MOST; F++) {
        int seen[2 * MOST] = {0};
        for (int64_t f = 0; f < F; f++) {
            const int64_t gate = beam_interleave_row(f, 0, F), up = beam_interleave_row(f, 1, F);
            assert_true(gate >= 0 && gate < up && up < 2 * F);
            assert_true(seen[gate]++ == 0 && seen[up]++ == 0);
        }
    }
    assert_int_equal(beam_interleave_row(9, 0, 16), 17); /* second group: gates at 16..23, ups at 24..31 */
    assert_int_equal(beam_interleave_row(9, 1, 16), 25);
    assert_int_equal(beam_interleave_row(9, 1, 10), 19); /* last group of two */
}

#ifdef BEAM_TEST_SIMT
/* More experts than the kernels have room for: refused, with both numbers. */
static void test_too_many_experts(void **state)
{
    (void)state;
    for (int32_t E = 1024; E <= 1025; E++) {
        beam_backend be;
        assert_int_equal(op_open_host_backend(&be), BEAM_OK);
        fixture f = {.T = 3, .E = E, .K = 2};
        test_block b = open_fixture(&f, &be);
        test_fill_normal(f.logits, "logits", 1);
        test_fill(f.route.keep, 1);
        beam_router_topk(&be, &f.route, f.prob, f.logits, no_limit);
        beam_route_plan(&be, &f.route);
        assert_int_equal(beam_sync(&be), E <= 1024 ? BEAM_OK : BEAM_EDEVICE);
        if (E <= 1024)
            check_plan(&f);
        else
            assert_non_null(
                strstr(beam_last_error(), "a layer of 1025 experts; its kernels take at most 1024"));
        test_block_free(&b);
        beam_backend_close(&be);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_candidates_are_valid),
        cmocka_unit_test(test_interleaving),
        cmocka_unit_test(test_nulls),
#ifdef BEAM_TEST_SIMT
        cmocka_unit_test(test_too_many_experts),
#endif
    };
    return cmocka_run_group_tests_name("ops.routing", tests, NULL, NULL);
}
