/* The kernels' exp and sigmoid, element by element against libm in double: what a comparison relative to the
 * largest value of a tensor cannot see. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/vec.h"

enum { POINTS = 400000 };

/* Error in units of the last place of the correctly rounded float; below the normal range, of 2^-149. */
static double ulps(real got, double want)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static void test_exp(void **state)
{
    (void)state;
    for (int i = 0; i < POINTS; i++) {
        const real x = (real)(-104 + 192.7 * i / POINTS); /* up to just below the logarithm of FLT_MAX */
        const double error = ulps(beam_exp(x), exp((double)x));
        if (!(error <= 1.5))
            fail_msg("exp(%.9g) is off by %.3g units in the last place", (double)x, error);
    }
}

static void test_sigmoid(void **state)
{
    (void)state;
    for (int i = 0; i < POINTS; i++) {
        const real x = (real)(-80 + 160.0 * i / POINTS);
        const double error = ulps(beam_sigmoid(x), 1 / (1 + exp(-(double)x)));
        if (!(error <= 3))
            fail_msg("sigmoid(%.9g) is off by %.3g units in the last place", (double)x, error);
    }
}

static void test_special_values(void **state)
{
    (void)state;
    const real inf = (real)INFINITY, nan = (real)NAN;
    assert_true(beam_exp(0) == 1 && beam_exp((real)-0.0) == 1);
    assert_true(beam_exp(inf) == inf && beam_exp(-inf) == 0);
    assert_true(beam_exp(1000) == inf && beam_exp(-1000) == 0);
    assert_true(isnan(beam_exp(nan)) && isnan(beam_exp(-nan)) && isnan(beam_sigmoid(nan)));
    assert_true(beam_sigmoid(0) == (real)0.5);
    assert_true(beam_sigmoid(inf) == 1 && beam_sigmoid(-inf) == 0);
    assert_true(beam_sigmoid(-200) >= 0 && beam_sigmoid(200) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_sigmoid),
        cmocka_unit_test(test_special_values),
    };
    return cmocka_run_group_tests_name("ops.exponential", tests, NULL, NULL);
}
