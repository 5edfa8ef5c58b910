/* core/bf16.h: every bfloat16 and every half, and rounding at every boundary between two of them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* A format of 16 bits: its conversions, and the pattern of infinity. */
typedef struct {
    float (*widen)(uint16_t h);
    uint16_t (*narrow)(float f);
    uint16_t infinity;
} format;

static const format bf16 = {beam_bf16_to_f32, beam_f32_to_bf16, 0x7f80};
static const format f16 = {beam_f16_to_f32, beam_f32_to_f16, 0x7c00};

static void check_round_trip(const format *k)
{
    for (uint32_t h = 0; h <= 0xffff; h++) {
        const float f = k->widen((uint16_t)h);
        const bool nan = (h & 0x7fff) > k->infinity;
        assert_int_equal(isnan(f) != 0, nan);
        assert_int_equal(signbit(f) != 0, h >> 15);
        const uint16_t back = k->narrow(f);
        if (nan)
            assert_true((back & 0x7fff) > k->infinity && back >> 15 == h >> 15);
        else
            assert_int_equal(back, h);
    }
}

/* Neighbours a < b, b = the next pattern: below the middle goes to a, above to b, the middle to the even one.
 * Past the largest finite value the "next" is infinity, and the middle is where a step more would be. */
static void check_rounding(const format *k)
{
    for (uint16_t h = 0; h < k->infinity; h++) {
        const double a = (double)k->widen(h);
        const double b = h + 1 < k->infinity ? (double)k->widen((uint16_t)(h + 1))
                                             : 2 * a - (double)k->widen((uint16_t)(h - 1));
        const float middle = (float)((a + b) / 2);
        assert_true((double)middle == (a + b) / 2);
        const uint16_t even = (uint16_t)(h + (h & 1));
        assert_int_equal(k->narrow(middle), even);
        assert_int_equal(k->narrow(-middle), even | 0x8000);
        assert_int_equal(k->narrow(nextafterf(middle, 0)), h);
        assert_int_equal(k->narrow(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(k->narrow(nextafterf(-middle, -INFINITY)), (h + 1) | 0x8000);
    }
}

static void check_special(const format *k)
{
    assert_int_equal(k->narrow(INFINITY), k->infinity);
    assert_int_equal(k->narrow(-INFINITY), k->infinity | 0x8000);
    assert_int_equal(k->narrow(from_bits(0x7f7fffff)), k->infinity); /* the largest float */
    assert_int_equal(k->narrow(-0.0f), 0x8000);
    /* A NaN whose payload is in the low bits only must not become infinity. */
    assert_true((k->narrow(from_bits(0x7f800001)) & 0x7fff) > k->infinity);
    assert_true((k->narrow(from_bits(0xffffffff)) & 0x7fff) > k->infinity);
}

static void test_bf16(void **state)
{
    (void)state;
    check_round_trip(&bf16);
    check_rounding(&bf16);
    check_special(&bf16);
    assert_int_equal(beam_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(beam_f32_to_bf16(from_bits(1)), 0); /* the smallest float */
}

static void test_f16(void **state)
{
    (void)state;
    check_round_trip(&f16);
    check_rounding(&f16);
    check_special(&f16);
    assert_int_equal(beam_f32_to_f16(1.0f), 0x3c00);
    assert_int_equal(beam_f32_to_f16(65504.0f), 0x7bff);
    assert_int_equal(beam_f32_to_f16(-2.0f), 0xc000);
    assert_int_equal(beam_f32_to_f16(0x1p-24f), 1);
    assert_int_equal(beam_f32_to_f16(0x1p-25f), 0); /* halfway to the smallest: even is 0 */
    assert_int_equal(bits(beam_f16_to_f32(0x3555)), bits(0x1.554p-2f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bf16), cmocka_unit_test(test_f16)};
    return cmocka_run_group_tests_name("unit.core_half", tests, NULL, NULL);
}
