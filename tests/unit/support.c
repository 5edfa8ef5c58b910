/* The test support itself: a comparison that cannot fail would make every other test worthless. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/block.h"
#include "support/compare.h"
#include "support/differences.h"
#include "support/values.h"

enum { N = 4 };

static bool close_to(const float got[N], const float want[N], double tolerance)
{
    float a[N], b[N];
    memcpy(a, got, sizeof a);
    memcpy(b, want, sizeof b);
    return test_close("expected in this test", beam_view(a, BEAM_F32, BEAM_DIMS(N)),
                      beam_view(b, BEAM_F32, BEAM_DIMS(N)), tolerance, 0);
}

static void test_comparison(void **state)
{
    (void)state;
    const float want[N] = {1, -8, 0, 2}, near[N] = {1, -8, 0.0625f, 2}, nan[N] = {1, -8, NAN, 2};
    const float infinite[N] = {1, -8, INFINITY, 2}, negative[N] = {1, -8, -INFINITY, 2}, zero[N] = {0};
    assert_true(close_to(want, want, 0));
    assert_true(close_to(near, want, 0.0625 / 8));
    assert_false(close_to(near, want, 0.0624 / 8));
    assert_false(close_to(nan, want, 1e30));
    assert_false(close_to(want, nan, 1e30));
    assert_true(close_to(nan, nan, 0));
    assert_false(close_to(infinite, want, 1e30));
    assert_false(close_to(infinite, negative, 1e30));
    assert_false(close_to(infinite, nan, 1e30));
    assert_true(close_to(infinite, infinite, 0));
    assert_true(close_to(zero, zero, 0));
    assert_false(close_to(near, zero, 1e30)); /* exactly 0 is asked for */
    assert_false(close_to(near, want, NAN));
}

static void test_panel(void **state)
{
    (void)state;
    double a[N] = {3, 5, 5, 0}, b[N] = {3, 4, 0, 0};
    const test_difference d =
        test_compare(beam_view(a, BEAM_F64, BEAM_DIMS(N)), beam_view(b, BEAM_F64, BEAM_DIMS(N)), 0.5, 0);
    assert_true(d.max_abs == 5 && d.largest == 4 && d.first == 2 && d.beyond == 1 && d.first_special == -1);
    assert_true(fabs(d.relative_l2 - sqrt(26.0) / 5) <= 1e-15);
}

static void layout(test_block *b, beam_tensor t[2])
{
    t[0] = test_block_push(b, BEAM_F32, BEAM_DIMS(3));
    t[1] = test_block_push(b, BEAM_U8, BEAM_DIMS(5));
}

static void test_guards(void **state)
{
    (void)state;
    beam_tensor t[2];
    test_block b = test_block_measure();
    layout(&b, t);
    test_block_place(&b);
    layout(&b, t);
    assert_true(isnan(test_get(t[0], 0)) && test_untouched(t[0], 2));
    test_fill(t[0], 1);
    test_fill(t[1], 2);
    assert_false(test_untouched(t[0], 2));
    assert_true(test_block_guards(&b, b.bytes));
    for (int i = 0; i < 2; i++) {
        char *const outside[] = {(char *)t[i].data - 1, (char *)t[i].data + beam_bytes(t[i])};
        for (int k = 0; k < 2; k++) {
            *outside[k] = 0;
            assert_false(test_block_guards(&b, b.bytes));
            *outside[k] = (char)TEST_PATTERN;
        }
    }
    assert_true(test_block_guards(&b, b.bytes));
    test_block_free(&b);
}

static double cubic_sine(void *scale, double x)
{
    return *(const double *)scale * sin(x) * x * x * x;
}

static void test_differences(void **state)
{
    (void)state;
    double scale = 2;
    const double x = 0.7, exact = scale * (cos(x) * x * x * x + 3 * sin(x) * x * x);
    assert_true(fabs(test_derivative(cubic_sine, &scale, x, 1e-3) - exact) <= 1e-11);
}

/* Fills are repeatable, differ by name, and are floats. */
static void test_fills(void **state)
{
    (void)state;
    float a[64];
    double b[64];
    const beam_tensor narrow = beam_view(a, BEAM_F32, BEAM_DIMS(64)),
                      wide = beam_view(b, BEAM_F64, BEAM_DIMS(64));
    test_fill_normal(narrow, "one", 1.7);
    test_fill_normal(wide, "one", 1.7);
    for (int i = 0; i < 64; i++)
        assert_true((double)a[i] == b[i]);
    test_fill_normal(wide, "two", 1.7);
    assert_true((double)a[0] != b[0]);
    test_fill_integers(wide, "three", -2, 2);
    double low = 9, high = -9;
    for (int i = 0; i < 64; i++) {
        assert_true(b[i] == floor(b[i]));
        low = fmin(low, b[i]);
        high = fmax(high, b[i]);
    }
    assert_true(low == -2 && high == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comparison),  cmocka_unit_test(test_panel), cmocka_unit_test(test_guards),
        cmocka_unit_test(test_differences), cmocka_unit_test(test_fills),
    };
    return cmocka_run_group_tests_name("unit.support", tests, NULL, NULL);
}
