/* What give-back promises beyond its formulas: kept pairs add nothing, not a bit; dropped ones add exactly
 * g d; and a mask gate without give-back has the gradients it always had. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/block.h"
#include "support/compare.h"
#include "support/values.h"

enum { T = 19, D = 11, E = 6, K = 3, R = T * K };

typedef struct {
    beam_backend be;
    test_block block;
    beam_route route;
    beam_tensor y, given, dy, dvector, dgiven;
    beam_tensor counted, dpair, dproduct, dweight;
} layer;

static void push_layer(layer *l)
{
    test_block *b = &l->block;
    const beam_dtype real = l->be.real;
    l->route = (beam_route){.expert = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K)),
                            .weight = test_block_push(b, real, BEAM_DIMS(T, K)),
                            .gate = test_block_push(b, real, BEAM_DIMS(T, K)),
                            .keep = test_block_push(b, BEAM_U8, BEAM_DIMS(T, K)),
                            .row = test_block_push(b, BEAM_I32, BEAM_DIMS(T, K)),
                            .pair = test_block_push(b, BEAM_I32, BEAM_DIMS(R)),
                            .first = test_block_push(b, BEAM_I32, BEAM_DIMS(E + 1)),
                            .kept = test_block_push(b, BEAM_I32, BEAM_DIMS(E))};
    l->y = test_block_push(b, real, BEAM_DIMS(T, D));
    l->given = test_block_push(b, real, BEAM_DIMS(E, D));
    l->dy = test_block_push(b, real, BEAM_DIMS(T, D));
    l->dvector = test_block_push(b, real, BEAM_DIMS(E, D));
    l->dgiven = test_block_push(b, real, BEAM_DIMS(T, K));
    l->counted = test_block_push(b, BEAM_U8, BEAM_DIMS(T));
    l->dpair = test_block_push(b, real, BEAM_DIMS(T, K));
    l->dproduct = test_block_push(b, real, BEAM_DIMS(T, E));
    l->dweight = test_block_push(b, real, BEAM_DIMS(T, K));
}

/* Small integers, and weights that are powers of two: every sum is exact. */
static void open_layer(layer *l)
{
    assert_int_equal(beam_backend_cpu(&l->be, 2), BEAM_OK);
    l->block = test_block_measure();
    push_layer(l);
    test_block_place(&l->block);
    push_layer(l);
    for (int64_t i = 0; i < R; i++) {
        test_set(l->route.expert, i, (double)((i / K + i % K * 2) % (E - 1) + 1)); /* expert 0 has no token */
        test_set(l->route.weight, i, ldexp(1, -(int)(i % 4)));
        test_set(l->route.keep, i, test_uniform("keep", i, 0, 1) < 0.5);
    }
    test_fill_uniform(l->route.gate, "gate", 0, 1);
    test_fill_integers(l->y, "y", -3, 3);
    test_fill_integers(l->given, "given", -3, 3);
    test_fill_integers(l->dy, "dy", -3, 3);
    test_fill_integers(l->dvector, "dvector", -3, 3);
    test_fill_normal(l->dpair, "dpair", 1);
    for (int64_t t = 0; t < T; t++)
        test_set(l->counted, t, t % 3 != 0);
}

static void close_layer(layer *l)
{
    assert_int_equal(beam_sync(&l->be), BEAM_OK);
    assert_true(test_block_guards(&l->block, l->block.bytes));
    test_block_free(&l->block);
    beam_backend_close(&l->be);
}

static void run(layer *l, beam_mask_form form)
{
    beam_route_plan(&l->be, &l->route);
    beam_give_back(&l->be, l->y, l->given, &l->route, form);
    beam_give_back_grad(&l->be, l->dvector, l->dgiven, l->dy, l->given, &l->route, form);
}

/* Not even 0 times the vector: NaN in it, and -0 in y, show that. */
static void test_kept_pairs_add_nothing(void **state)
{
    (void)state;
    for (int soft = 0; soft < 2; soft++) {
        layer l, same;
        open_layer(&l);
        open_layer(&same);
        layer *const both[] = {&l, &same};
        for (int i = 0; i < 2; i++) {
            test_fill(both[i]->route.keep, 1);
            test_fill(both[i]->route.gate, 1);
            test_fill(both[i]->given, NAN);
            for (int64_t k = 0; k < D; k++) {
                test_set(both[i]->y, k, -0.0);
                test_set(both[i]->dvector, k, -0.0);
            }
        }
        run(&l, soft ? BEAM_MASK_SOFT : BEAM_MASK_HARD);
        assert_true(test_same("y", l.y, same.y));
        assert_true(test_close("dvector", l.dvector, same.dvector, 0, 0));
        close_layer(&l);
        close_layer(&same);
    }
}

static void test_dropped_pairs_add_their_vector(void **state)
{
    (void)state;
    layer l, want;
    open_layer(&l);
    open_layer(&want);
    test_fill(l.route.keep, 0);
    run(&l, BEAM_MASK_HARD);
    for (int64_t i = 0; i < R * D; i++) {
        const int64_t pair = i / D, token = pair / K * D + i % D;
        const int64_t own = (int64_t)test_get(want.route.expert, pair) * D + i % D;
        const double g = test_get(want.route.weight, pair);
        test_set(want.y, token, test_get(want.y, token) + g * test_get(want.given, own));
        test_set(want.dvector, own, test_get(want.dvector, own) + g * test_get(want.dy, token));
    }
    assert_true(test_close("y", l.y, want.y, 0, 0));
    assert_true(test_close("dvector", l.dvector, want.dvector, 0, 0));
    close_layer(&l);
    close_layer(&want);
}

/* Kept pairs have their <dy, d> too: du needs what dropping them would give back. */
static void test_every_pair_has_its_product(void **state)
{
    (void)state;
    layer l;
    open_layer(&l);
    run(&l, BEAM_MASK_HARD);
    for (int64_t i = 0; i < R; i++) {
        double sum = 0;
        for (int64_t j = 0; j < D; j++)
            sum += test_get(l.dy, i / K * D + j) *
                   test_get(l.given, (int64_t)test_get(l.route.expert, i) * D + j);
        assert_true(test_get(l.dgiven, i) == sum);
    }
    close_layer(&l);
}

/* One operation of the backend's type. Two floats in double lose nothing before this rounding. */
static double rounded(const layer *l, double x)
{
    return l->be.real == BEAM_F64 ? x : (double)(float)x;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void test_gate_without_give_back(void **state)
{
    (void)state;
    for (int soft = 0; soft < 2; soft++) {
        layer l;
        open_layer(&l);
        const beam_gate_terms none = {0};
        const double penalty = 0.01;
        const beam_gate_grad_args args = {.dpair = l.dpair,
                                          .counted = l.counted,
                                          .penalty = penalty,
                                          .temperature = 1,
                                          .form = soft ? BEAM_MASK_SOFT : BEAM_MASK_HARD};
        test_set(l.dpair, 5, -0.0);
        beam_mask_gate_grad(&l.be, l.dproduct, l.dweight, &none, &l.route, &args);
        for (int64_t i = 0; i < R; i++) {
            const double a = test_get(l.dpair, i), q = test_get(l.route.gate, i);
            double du = rounded(&l, test_get(l.route.weight, i) * a);
            if (test_get(l.counted, i / K) != 0)
                du = rounded(&l, du + rounded(&l, penalty));
            du = rounded(&l, rounded(&l, du * q) * rounded(&l, 1 - q));
            const double hard = test_get(l.route.keep, i) != 0 ? a : 0;
            const int64_t own = i / K * E + (int64_t)test_get(l.route.expert, i);
            assert_true(same_bits(test_get(l.dproduct, own), du));
            assert_true(same_bits(test_get(l.dweight, i), soft ? rounded(&l, q * a) : hard));
        }
        close_layer(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_pairs_add_nothing),
        cmocka_unit_test(test_dropped_pairs_add_their_vector),
        cmocka_unit_test(test_every_pair_has_its_product),
        cmocka_unit_test(test_gate_without_give_back),
    };
    return cmocka_run_group_tests_name("ops.dropped", tests, NULL, NULL);
}
