/* Distances between words, by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <string.h>

#include "train/nearest.h"

static void test_distance(void **state)
{
    (void)state;
    assert_int_equal(beam_word_distance("", ""), 0);
    assert_int_equal(beam_word_distance("", "abc"), 3);
    assert_int_equal(beam_word_distance("seed", "seed"), 0);
    assert_int_equal(beam_word_distance("maks", "mask"), 1);
    assert_int_equal(beam_word_distance("kitten", "sitting"), 3);
    assert_int_equal(beam_word_distance("ca", "abc"), 3);
    assert_int_equal(beam_word_distance("lr", "rl"), 1);
}

static void test_long_words_are_far(void **state)
{
    (void)state;
    char word[128] = "";
    memset(word, 'a', 63);
    assert_int_equal(beam_word_distance(word, ""), 63);
    word[63] = 'a';
    assert_int_equal(beam_word_distance(word, word), INT_MAX);
    assert_false(beam_word_is_near(INT_MAX, word));
}

static void test_near(void **state)
{
    (void)state;
    assert_true(beam_word_is_near(1, "lr"));
    assert_false(beam_word_is_near(2, "lr"));
    assert_true(beam_word_is_near(4, "learning_rate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_long_words_are_far),
        cmocka_unit_test(test_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
