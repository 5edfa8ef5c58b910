/* What the mask promises beyond its formulas: masked pairs are skipped exactly, the hard form is the soft
 * formula with m in the documented places, and an open gate is the base model, bit for bit. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/block.h"
#include "support/compare.h"
#include "support/values.h"

enum { T = 23, D = 12, E = 6, K = 3, F = 20, R = T * K };

/* One MoE layer of experts w2(swiglu(w1 x)). exact: gates are so large that silu is the identity, and all
 * numbers small integers or powers of two, so that every sum is exact in any order. */
typedef struct {
    bool exact;
    beam_tensor x, w1, w2, dy; /* read only */
    beam_route route;
    beam_tensor product, counted;
    beam_tensor rows_x, hidden, act, rows_y, y;
    beam_tensor drows_y, dact, dhidden, scaled_act, drows_x, dx, dw1, dw2, dpair, dot, weight;
    beam_tensor dproduct, dweight;
} layer;

static beam_route push_route(test_block *b, beam_dtype real)
{
    return (beam_route){.expert = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K)),
                        .weight = test_block_push(b, real, BEAM_DIMS(T, K)),
                        .logit = test_block_push(b, real, BEAM_DIMS(T, K)),
                        .gate = test_block_push(b, real, BEAM_DIMS(T, K)),
                        .keep = test_block_push(b, BEAM_U8, BEAM_DIMS(T, K)),
                        .row = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K)),
                        .pair = test_block_push(b, BEAM_I32, BEAM_DIMS(R)),
                        .first = test_block_push(b, BEAM_I32, BEAM_DIMS(E + 1)),
                        .kept = test_block_push(b, BEAM_I32, BEAM_DIMS(E))};
}

static void push_layer(test_block *b, beam_dtype real, layer *l)
{
    const int64_t wide = 2 * F;
    l->x = test_block_push(b, real, BEAM_DIMS(T, D));
    l->w1 = test_block_push(b, real, BEAM_DIMS(E, wide, D));
    l->w2 = test_block_push(b, real, BEAM_DIMS(E, D, F));
    l->dy = test_block_push(b, real, BEAM_DIMS(T, D));
    l->route = push_route(b, real);
    l->product = test_block_push(b, real, BEAM_DIMS(T, E));
    l->counted = test_block_push(b, BEAM_U8, BEAM_DIMS(T));
    l->rows_x = test_block_push(b, real, BEAM_DIMS(R, D));
    l->hidden = test_block_push(b, real, BEAM_DIMS(R, wide));
    l->act = test_block_push(b, real, BEAM_DIMS(R, F));
    l->rows_y = test_block_push(b, real, BEAM_DIMS(R, D));
    l->y = test_block_push(b, real, BEAM_DIMS(T, D));
    l->drows_y = test_block_push(b, real, BEAM_DIMS(R, D));
    l->dact = test_block_push(b, real, BEAM_DIMS(R, F));
    l->dhidden = test_block_push(b, real, BEAM_DIMS(R, wide));
    l->scaled_act = test_block_push(b, real, BEAM_DIMS(R, F));
    l->dot = test_block_push(b, real, BEAM_DIMS(R));
    l->weight = test_block_push(b, real, BEAM_DIMS(R));
    l->drows_x = test_block_push(b, real, BEAM_DIMS(R, D));
    l->dx = test_block_push(b, real, BEAM_DIMS(T, D));
    l->dw1 = test_block_push(b, real, BEAM_DIMS(E, wide, D));
    l->dw2 = test_block_push(b, real, BEAM_DIMS(E, D, F));
    l->dpair = test_block_push(b, real, BEAM_DIMS(T, K));
    l->dproduct = test_block_push(b, real, BEAM_DIMS(T, E));
    l->dweight = test_block_push(b, real, BEAM_DIMS(T, K));
}

/* Every token has 32 in column 0, of which each gate takes 4: gates are at least 128 - 3 (D - 1), where the
 * sigmoid is 1 in either precision. */
static void saturate_gates(layer *l)
{
    for (int64_t t = 0; t < T; t++)
        test_set(l->x, t * D, 32);
    for (int64_t i = 0; i < E * F; i++)
        for (int up = 0; up < 2; up++) {
            const int64_t row = (i / F * 2 * F + beam_interleave_row(i % F, up, F)) * D;
            for (int64_t d = 0; !up && d < D; d++)
                test_set(l->w1, row + d, fmod(test_get(l->w1, row + d), 2));
            test_set(l->w1, row, up ? 0 : 4);
        }
}

static void fill_layer(layer *l)
{
    void (*const fill)(beam_tensor, const char *, int, int) = test_fill_integers;
    fill(l->x, "x", -3, 3);
    fill(l->dy, "dy", -3, 3);
    fill(l->w1, "w1", -2, 2);
    fill(l->w2, "w2", -2, 2);
    if (l->exact) {
        saturate_gates(l);
    } else {
        test_fill_normal(l->w1, "w1", 0.3);
        test_fill_normal(l->w2, "w2", 0.3);
    }
    for (int64_t i = 0; i < R; i++) {
        test_set(l->route.expert, i, (double)((i / K + i % K * 2) % (E - 1) + 1)); /* expert 0 has no token */
        test_set(l->route.weight, i, ldexp(1, -(int)(i % 4)));
    }
    test_fill_normal(l->product, "product", 1);
    test_fill(l->counted, 1);
    for (int64_t e = 0; e < E; e++) {
        test_set(l->product, e, -2);    /* token 0 keeps nothing */
        test_set(l->product, E + e, 2); /* token 1 keeps everything */
    }
    test_fill(l->dx, 0);
    test_fill(l->dw1, 0);
    test_fill(l->dw2, 0);
}

static test_block open_layer(layer *l, const beam_backend *be, bool exact)
{
    l->exact = exact;
    test_block b = test_block_measure();
    push_layer(&b, be->real, l);
    test_block_place(&b);
    push_layer(&b, be->real, l);
    fill_layer(l);
    return b;
}

static void gate_and_plan(beam_backend *be, const layer *l, double cutoff)
{
    const beam_gate_terms terms = {.cutoff = cutoff, .temperature = 1};
    beam_mask_gate(be, &l->route, l->product, &terms);
    beam_route_plan(be, &l->route);
}

static void inner(beam_backend *be, const layer *l, beam_rows_of rows)
{
    beam_route_gather(be, l->rows_x, l->x, &l->route, rows);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = l->hidden, .a = l->rows_x, .b = l->w1, .tb = true},
                      &l->route, rows);
}

static void experts(beam_backend *be, const layer *l, beam_rows_of rows)
{
    inner(be, l, rows);
    beam_swiglu(be, l->act, l->hidden, &l->route, rows);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = l->rows_y, .a = l->act, .b = l->w2, .tb = true},
                      &l->route, rows);
}

/* What pairs are worth; with `out`, their way back through the activation. */
static void pairs_back(beam_backend *be, const layer *l, const beam_pair_grads *out, beam_rows_of rows)
{
    beam_route_gather(be, l->drows_y, l->dy, &l->route, rows);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = l->dact, .a = l->drows_y, .b = l->w2}, &l->route,
                      rows);
    beam_pair_grad(be, l->dot, out, l->dact, l->hidden, &l->route, rows);
    beam_route_pairs(be, l->dpair, l->dot, &l->route, rows);
}

static void experts_back(beam_backend *be, const layer *l, beam_mask_form form, beam_rows_of rows)
{
    const beam_pair_grads out = {.weight = l->weight, .dgate_up = l->dhidden, .act = l->scaled_act};
    beam_route_weights(be, l->weight, &l->route, form);
    pairs_back(be, l, &out, rows);
    beam_grouped_wgrad(be, l->dw2, l->drows_y, l->scaled_act, &l->route, rows);
    beam_grouped_wgrad(be, l->dw1, l->dhidden, l->rows_x, &l->route, rows);
    beam_grouped_gemm(be, &(beam_grouped_product){.c = l->drows_x, .a = l->dhidden, .b = l->w1}, &l->route,
                      rows);
    beam_route_gather_grad(be, l->dx, l->drows_x, &l->route, rows);
}

/* Kept pairs only in forward; what backward needs of masked pairs it makes itself, and then runs over the
 * kept prefix. */
static void run_skipping(beam_backend *be, const layer *l)
{
    experts(be, l, BEAM_ROWS_KEPT);
    beam_route_combine(be, l->y, l->rows_y, &l->route, BEAM_MASK_HARD);
    inner(be, l, BEAM_ROWS_DROPPED);
    pairs_back(be, l, NULL, BEAM_ROWS_DROPPED);
    experts_back(be, l, BEAM_MASK_HARD, BEAM_ROWS_KEPT);
}

/* Every pair, masked ones with weight g * 0: the soft form with q = m. */
static void run_dense(beam_backend *be, const layer *l)
{
    for (int64_t i = 0; i < R; i++)
        test_set(l->route.gate, i, test_get(l->route.keep, i));
    experts(be, l, BEAM_ROWS_ALL);
    beam_route_combine(be, l->y, l->rows_y, &l->route, BEAM_MASK_SOFT);
    experts_back(be, l, BEAM_MASK_SOFT, BEAM_ROWS_ALL);
}

/* <dy, E(x)>, of the outputs themselves. */
static double worth(const layer *l, int64_t i)
{
    double sum = 0;
    for (int64_t d = 0; d < D; d++)
        sum +=
            test_get(l->dy, i / K * D + d) * test_get(l->rows_y, (int64_t)test_get(l->route.row, i) * D + d);
    return sum;
}

static void compare_ways(bool exact)
{
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer skipping, dense;
    test_block a = open_layer(&skipping, &be, exact), b = open_layer(&dense, &be, exact);
    gate_and_plan(&be, &skipping, 0);
    gate_and_plan(&be, &dense, 0);
    run_skipping(&be, &skipping);
    run_dense(&be, &dense);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    const struct {
        const char *name;
        beam_tensor got, want;
    } pairs[] = {{"y", skipping.y, dense.y},
                 {"dpair", skipping.dpair, dense.dpair},
                 {"dx", skipping.dx, dense.dx},
                 {"dw1", skipping.dw1, dense.dw1},
                 {"dw2", skipping.dw2, dense.dw2}};
    const double tolerance = exact ? 0 : be.real == BEAM_F64 ? 1e-14 : 2e-6;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_true(test_close(pairs[i].name, pairs[i].got, pairs[i].want, tolerance, 0));
        assert_true(test_compare(pairs[i].want, pairs[i].want, 0, 0).largest > 0);
    }
    const double most = be.real == BEAM_F64 ? 1e-12 : 1e-3;
    for (int64_t i = 0; i < R; i++)
        assert_true(fabs(test_get(dense.dpair, i) - worth(&dense, i)) <= (exact ? 0 : most));
    /* Nothing of a masked pair was written on the way back. */
    for (int64_t i = 0; i < R; i++)
        if (test_get(skipping.route.keep, i) == 0)
            for (int64_t d = 0; d < D; d++)
                assert_true(
                    test_untouched(skipping.drows_x, (int64_t)test_get(skipping.route.row, i) * D + d));
    assert_true(test_block_guards(&a, a.bytes) && test_block_guards(&b, b.bytes));
    test_block_free(&a);
    test_block_free(&b);
    beam_backend_close(&be);
}

static void test_skipping_is_exact(void **state)
{
    (void)state;
    compare_ways(true);
}

static void test_skipping_with_curved_gates(void **state)
{
    (void)state;
    compare_ways(false);
}

static void test_nothing_kept(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer l;
    test_block b = open_layer(&l, &be, false);
    gate_and_plan(&be, &l, 100);
    run_skipping(&be, &l);
    const beam_tensor zero[] = {l.y, l.dx, l.dw1, l.dw2};
    for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++)
        for (int64_t k = 0; k < beam_count(zero[i]); k++)
            assert_true(test_get(zero[i], k) == 0 && !signbit(test_get(zero[i], k)));
    test_block_free(&b);
    beam_backend_close(&be);
}

/* W_m = 0 and no bias: u = 0, everything is kept, and the layer is the base model's, bit for bit. */
static void test_open_gate_is_the_base(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer masked, base;
    test_block a = open_layer(&masked, &be, false), b = open_layer(&base, &be, false);
    test_fill(masked.product, 0);
    gate_and_plan(&be, &masked, 0);
    beam_gate_open(&be, &base.route, (beam_prune_rule){.keep = K, .share = 1, .anchor = K});
    beam_route_plan(&be, &base.route);
    run_skipping(&be, &masked);
    run_skipping(&be, &base);
    assert_true(test_same("y", masked.y, base.y) && test_same("dx", masked.dx, base.dx));
    assert_true(test_same("dw1", masked.dw1, base.dw1) && test_same("dw2", masked.dw2, base.dw2));
    test_block_free(&a);
    test_block_free(&b);
    beam_backend_close(&be);
}

/* The same a_e in both forms: du is bitwise the same, dL/dg is m a or q a, and a row weighs g m or g q. */
static void test_hard_is_soft_with_m(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer hard, soft;
    test_block a = open_layer(&hard, &be, false), b = open_layer(&soft, &be, false);
    const struct {
        const layer *l;
        beam_mask_form form;
    } side[] = {{&hard, BEAM_MASK_HARD}, {&soft, BEAM_MASK_SOFT}};
    for (int i = 0; i < 2; i++) {
        const layer *l = side[i].l;
        const beam_gate_terms none = {0};
        const beam_gate_grad_args args = {.dpair = l->dpair,
                                          .counted = l->counted,
                                          .penalty = 0.01,
                                          .temperature = 1,
                                          .form = side[i].form};
        gate_and_plan(&be, l, 0);
        inner(&be, l, BEAM_ROWS_ALL);
        pairs_back(&be, l, NULL, BEAM_ROWS_ALL);
        beam_route_weights(&be, l->weight, &l->route, side[i].form);
        beam_mask_gate_grad(&be, l->dproduct, l->dweight, &none, &l->route, &args);
    }
    assert_true(test_same("dpair", hard.dpair, soft.dpair));
    assert_true(test_same("dproduct", hard.dproduct, soft.dproduct));
    const double ulp = be.real == BEAM_F64 ? 0x1p-52 : 0x1p-23;
    for (int64_t i = 0; i < R; i++) {
        const double m = test_get(hard.route.keep, i), q = test_get(hard.route.gate, i);
        const double share = test_get(hard.dpair, i), g = test_get(hard.route.weight, i);
        assert_true(m == (test_get(hard.route.logit, i) >= 0));
        assert_true(test_get(hard.dweight, i) == m * share);
        assert_true(fabs(test_get(soft.dweight, i) - q * share) <= ulp * fabs(q * share));
        const int64_t row = (int64_t)test_get(hard.route.row, i);
        assert_true(test_get(hard.weight, row) == m * g);
        assert_true(fabs(test_get(soft.weight, row) - g * q) <= ulp * fabs(g * q));
    }
    test_block_free(&a);
    test_block_free(&b);
    beam_backend_close(&be);
}

/* m = 1 exactly when u >= 0: equality keeps, either zero; NaN drops. */
static void test_boundary(void **state)
{
    (void)state;
    const double tiny = 0x1p-126;
    const struct {
        double u;
        bool kept;
    } rows[] = {{0, true},    {-0.0, true},          {tiny, true},     {-tiny, false},
                {NAN, false}, {-(double)NAN, false}, {INFINITY, true}, {-INFINITY, false}};
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer l;
    test_block b = open_layer(&l, &be, false);
    const int64_t n = sizeof rows / sizeof rows[0];
    for (int64_t i = 0; i < T * E; i++)
        test_set(l.product, i, rows[i / E % n].u);
    gate_and_plan(&be, &l, 0);
    for (int64_t i = 0; i < R; i++)
        assert_int_equal(test_get(l.route.keep, i), rows[i / K % n].kept);
    test_block_free(&b);
    beam_backend_close(&be);
}

/* Twice u at twice the temperature is the same q, and half the gradient. What is kept depends on u alone. */
static void test_temperature(void **state)
{
    (void)state;
    beam_backend be;
    assert_int_equal(beam_backend_cpu(&be, 2), BEAM_OK);
    layer one, two;
    test_block a = open_layer(&one, &be, false), b = open_layer(&two, &be, false);
    layer *const side[] = {&one, &two};
    for (int i = 0; i < 2; i++) {
        const layer *l = side[i];
        const beam_gate_terms terms = {.cutoff = 0.5 * (i + 1), .temperature = i + 1}, none = {0};
        const beam_gate_grad_args args = {.dpair = l->dpair, .counted = l->counted, .temperature = i + 1};
        for (int64_t k = 0; k < T * E; k++)
            test_set(l->product, k, test_get(l->product, k) * (i + 1));
        test_fill_normal(l->dpair, "dpair", 1);
        beam_mask_gate(&be, &l->route, l->product, &terms);
        beam_mask_gate_grad(&be, l->dproduct, l->dweight, &none, &l->route, &args);
    }
    assert_true(test_same("q", one.route.gate, two.route.gate));
    assert_true(test_same("m", one.route.keep, two.route.keep));
    for (int64_t i = 0; i < R; i++) {
        assert_true(test_get(two.route.logit, i) == 2 * test_get(one.route.logit, i));
        assert_true(test_get(two.route.keep, i) == (test_get(two.route.logit, i) >= 1));
    }
    for (int64_t k = 0; k < T * E; k++)
        assert_true(test_get(two.dproduct, k) == test_get(one.dproduct, k) / 2);
    test_block_free(&a);
    test_block_free(&b);
    beam_backend_close(&be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_skipping_is_exact),   cmocka_unit_test(test_skipping_with_curved_gates),
        cmocka_unit_test(test_nothing_kept),        cmocka_unit_test(test_open_gate_is_the_base),
        cmocka_unit_test(test_hard_is_soft_with_m), cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_temperature),
    };
    return cmocka_run_group_tests_name("ops.masks", tests, NULL, NULL);
}
