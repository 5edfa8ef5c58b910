/* Draws follow the distribution, repeat with their seed, and stay inside top-p. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "serve/sampler.h"

enum { VOCAB = 5, DRAWS = 20000 };

/* log of 0.4, 0.1, 0.3, 0.05, 0.15, shifted. */
static const double probability[VOCAB] = {0.4, 0.1, 0.3, 0.05, 0.15};

static void make_logits(float logits[VOCAB], double temperature)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(3 + temperature * log(probability[i]));
}

static void draw(beam_sampling how, const float *logits, uint64_t stream, int64_t count[VOCAB])
{
    beam_sampler s;
    memset(count, 0, VOCAB * sizeof *count);
    assert_int_equal(beam_sampler_open(&s, how, VOCAB), BEAM_OK);
    for (uint64_t i = 0; i < DRAWS; i++) {
        int32_t id;
        assert_int_equal(beam_sampler_take(&s, logits, stream, i, &id), BEAM_OK);
        assert_true(id >= 0 && id < VOCAB);
        count[id]++;
    }
    beam_sampler_close(&s);
}

/* Within five standard deviations of what `share` predicts. */
static void assert_frequencies(const int64_t count[VOCAB], const double share[VOCAB])
{
    for (int i = 0; i < VOCAB; i++) {
        const double mean = DRAWS * share[i], deviation = sqrt(mean * (1 - share[i]));
        if (!(fabs((double)count[i] - mean) <= 5 * deviation))
            fail_msg("token %d: %lld draws, expected %g", i, (long long)count[i], mean);
    }
}

static void follows_the_distribution(void **state)
{
    float logits[VOCAB];
    int64_t count[VOCAB], again[VOCAB], other[VOCAB];
    (void)state;
    for (int i = 0; i < 2; i++) {
        const beam_sampling how = {.temperature = i ? 0.7 : 1, .top_p = 1, .seed = 3};
        make_logits(logits, how.temperature);
        draw(how, logits, 0, count);
        assert_frequencies(count, probability);
        draw(how, logits, 0, again);
        assert_memory_equal(count, again, sizeof count);
        draw(how, logits, 1, other);
        assert_memory_not_equal(count, other, sizeof count);
        assert_frequencies(other, probability);
    }
}

static void top_p_cuts_the_tail(void **state)
{
    /* 0.4 + 0.3 fall short of 0.75, the third one reaches it. */
    const double share[VOCAB] = {0.4 / 0.85, 0, 0.3 / 0.85, 0, 0.15 / 0.85};
    float logits[VOCAB];
    int64_t count[VOCAB];
    (void)state;
    make_logits(logits, 1);
    draw((beam_sampling){.temperature = 1, .top_p = 0.75, .seed = 5}, logits, 0, count);
    assert_frequencies(count, share);
    draw((beam_sampling){.temperature = 1, .top_p = 1e-9, .seed = 5}, logits, 0, count);
    assert_int_equal(count[0], DRAWS);
}

static void greedy_takes_the_first_of_the_largest(void **state)
{
    const float logits[VOCAB] = {-1, 7, 2, 7, 0};
    int64_t count[VOCAB];
    (void)state;
    draw((beam_sampling){.top_p = 1}, logits, 0, count);
    assert_int_equal(count[1], DRAWS);
    draw((beam_sampling){.temperature = 1e-3, .top_p = 0.4}, logits, 0, count);
    assert_int_equal(count[1], DRAWS);
}

static void refuses_what_is_not_finite(void **state)
{
    float logits[VOCAB] = {0};
    beam_sampler s;
    int32_t id;
    (void)state;
    assert_int_equal(beam_sampler_open(&s, (beam_sampling){.top_p = 1}, VOCAB), BEAM_OK);
    logits[3] = NAN;
    assert_int_equal(beam_sampler_take(&s, logits, 0, 0, &id), BEAM_ENUMERIC);
    logits[3] = INFINITY;
    assert_int_equal(beam_sampler_take(&s, logits, 0, 0, &id), BEAM_ENUMERIC);
    beam_sampler_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_the_distribution),
        cmocka_unit_test(top_p_cuts_the_tail),
        cmocka_unit_test(greedy_takes_the_first_of_the_largest),
        cmocka_unit_test(refuses_what_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
