/* core/rng.h: known answers, distributions, permutations, and the hash. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/rng.h"
#include "support/stops.h"

/* The vectors that Random123 publishes for philox4x32-10 (kat_vectors): the counter is (index, stream), the
 * key is the seed, all with the low word first; two of the four output words are returned. */
static void test_known_answers(void **state)
{
    (void)state;
    const uint64_t ones = UINT64_MAX;
    assert_true(beam_random_bits(0, 0, 0) == UINT64_C(0xe169c58d6627e8d5));
    assert_true(beam_random_bits(ones, ones, ones) == UINT64_C(0x41c83b0e408f276d));
    assert_true(beam_random_bits(UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e),
                                 UINT64_C(0x85a308d3243f6a88)) == UINT64_C(0x94fdccebd16cfe09));
}

/* Every argument matters, its high half too. */
static void test_arguments_matter(void **state)
{
    (void)state;
    const uint64_t base = beam_random_bits(5, 6, 7), high = UINT64_C(1) << 40;
    assert_true(beam_random_bits(5 + high, 6, 7) != base && beam_random_bits(6, 6, 7) != base);
    assert_true(beam_random_bits(5, 6 + high, 7) != base && beam_random_bits(5, 7, 7) != base);
    assert_true(beam_random_bits(5, 6, 7 + high) != base && beam_random_bits(5, 6, 8) != base);
    assert_true(beam_random_bits(5, 6, 7) == base);
}

enum { DRAWS = 200000 };

/* Moments within 5 standard errors; the numbers are fixed, so the test cannot fail by chance. */
static void test_uniform(void **state)
{
    (void)state;
    double sum = 0, squares = 0, low = 1, high = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double u = beam_random_uniform(1, 2, i);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        low = fmin(low, u);
        high = fmax(high, u);
    }
    const double error = 5 / sqrt(12.0 * DRAWS);
    assert_true(fabs(sum / DRAWS - 0.5) <= error);
    assert_true(fabs(squares / DRAWS - 1.0 / 3) <= error);
    assert_true(low < 1e-4 && high > 1 - 1e-4);
}

static void test_normal(void **state)
{
    (void)state;
    double sum = 0, squares = 0, fourth = 0, neighbours = 0, last = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double x = beam_random_normal(1, 3, i);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        neighbours += x * last;
        last = x;
    }
    const double error = 5 / sqrt((double)DRAWS);
    assert_true(fabs(sum / DRAWS) <= error);
    assert_true(fabs(squares / DRAWS - 1) <= error * sqrt(2));
    assert_true(fabs(fourth / DRAWS - 3) <= error * sqrt(96));
    assert_true(fabs(neighbours / DRAWS) <= error);
}

static void check_bijection(uint64_t seed, uint64_t stream, uint64_t n)
{
    unsigned char *seen = calloc(n, 1);
    assert_non_null(seen);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t x = beam_random_permute(seed, stream, i, n);
        assert_true(x < n && !seen[x]);
        seen[x] = 1;
    }
    free(seen);
}

static void test_permutation(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 300; n++)
        check_bijection(n, 11, n);
    const uint64_t large[] = {1000, 1023, 1024, 1025, 4096, 4097, 16385, 30030};
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++)
        for (uint64_t seed = 0; seed < 2; seed++)
            check_bijection(seed, 12, large[i]);
    const uint64_t huge = (UINT64_C(1) << 62) - 57;
    assert_true(beam_random_permute(1, 2, huge - 1, huge) < huge);
}

/* Different keys give different orders, and an order is not the identity: for n = 1000 a random permutation
 * has one fixed point on average, and two agree at one place on average. */
static void test_permutations_differ(void **state)
{
    (void)state;
    const uint64_t n = 1000;
    int fixed = 0, same_seed = 0, same_stream = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t x = beam_random_permute(1, 1, i, n);
        fixed += x == i;
        same_seed += x == beam_random_permute(1, 2, i, n);
        same_stream += x == beam_random_permute(2, 1, i, n);
    }
    assert_true(fixed < 10 && same_seed < 10 && same_stream < 10);
}

/* First elements are spread evenly over many keys. */
static void test_permutation_is_uniform(void **state)
{
    (void)state;
    enum { N = 10, KEYS = 20000 };
    int count[N] = {0};
    for (uint64_t key = 0; key < KEYS; key++)
        count[beam_random_permute(key, 5, 0, N)]++;
    const double expected = (double)KEYS / N, error = 5 * sqrt(expected);
    for (int i = 0; i < N; i++)
        assert_true(fabs(count[i] - expected) <= error);
}

static void permute_beyond(void *unused)
{
    (void)unused;
    beam_random_permute(1, 1, 5, 5);
}

static void test_contracts(void **state)
{
    (void)state;
    assert_true(test_stops(permute_beyond, NULL));
}

/* The published vectors of 64-bit FNV-1a. */
static void test_hash(void **state)
{
    (void)state;
    assert_true(beam_hash_string("") == UINT64_C(0xcbf29ce484222325));
    assert_true(beam_hash_string("a") == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(beam_hash_string("foobar") == UINT64_C(0x85944171f73967e8));
    assert_true(beam_hash_string("\xff") != beam_hash_string("\x7f"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_arguments_matter),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_permutations_differ),
        cmocka_unit_test(test_permutation_is_uniform),
        cmocka_unit_test(test_contracts),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests_name("unit.core_rng", tests, NULL, NULL);
}
