/* core/status.h: codes, messages, traces, contracts. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/status.h"
#include "support/stops.h"

/* As documented for users: the numbers are an interface. */
static void test_exit_codes(void **state)
{
    (void)state;
    const struct {
        beam_status status;
        int code;
    } rows[] = {{BEAM_OK, 0},       {BEAM_ECONFIG, 2},  {BEAM_EDATA, 3},     {BEAM_EMODEL, 4},
                {BEAM_EIO, 5},      {BEAM_ENUMERIC, 6}, {BEAM_STOPPED, 7},   {BEAM_ENOMEM, 70},
                {BEAM_EDEVICE, 70}, {BEAM_ECOMM, 70},   {BEAM_EINTERNAL, 70}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(beam_exit_code(rows[i].status), rows[i].code);
}

static void test_message(void **state)
{
    (void)state;
    assert_int_equal(BEAM_FAIL(BEAM_EDATA, "%s:%d: bad %s", "train.txt", 7, "token"), BEAM_EDATA);
    assert_string_equal(beam_last_error(), "train.txt:7: bad token");
    assert_non_null(strstr(beam_error_trace(), "core_status.c:"));
    (void)BEAM_FAIL(BEAM_EIO, "another");
    assert_string_equal(beam_last_error(), "another");
    /* A caller may put the last message into the next. */
    (void)BEAM_FAIL(BEAM_EIO, "%s, and once more", beam_last_error());
    assert_string_equal(beam_last_error(), "another, and once more");
    /* What it quotes cannot steer a terminal or make a second line. */
    (void)BEAM_FAIL(BEAM_EDATA, "unknown key \"%s\"", "a\x1b[2J\nb\x7f\xc3\xa4");
    assert_string_equal(beam_last_error(), "unknown key \"a?[2J?b?\xc3\xa4\"");
}

static beam_status inner(int fails)
{
    return fails ? BEAM_FAIL(BEAM_EMODEL, "no such tensor") : BEAM_OK;
}

static beam_status middle(int fails)
{
    BEAM_TRY(inner(fails));
    return BEAM_OK;
}

static beam_status outer(int fails)
{
    BEAM_TRY(middle(fails));
    return BEAM_OK;
}

static int lines(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n;
}

static void test_trace(void **state)
{
    (void)state;
    assert_int_equal(outer(0), BEAM_OK);
    assert_int_equal(outer(1), BEAM_EMODEL);
    assert_string_equal(beam_last_error(), "no such tensor");
    assert_int_equal(lines(beam_error_trace()), 3);
    int first = 0, second = 0, third = 0;
    const char *format = strstr(beam_error_trace(), "core_status.c:");
    assert_non_null(format);
    assert_int_equal(sscanf(format, "core_status.c:%d", &first), 1);
    format = strstr(format + 1, "core_status.c:");
    assert_int_equal(sscanf(format, "core_status.c:%d", &second), 1);
    format = strstr(format + 1, "core_status.c:");
    assert_int_equal(sscanf(format, "core_status.c:%d", &third), 1);
    assert_true(first < second && second < third); /* innermost first, in the order of this file */
    (void)BEAM_FAIL(BEAM_EIO, "fresh");
    assert_int_equal(lines(beam_error_trace()), 1);
}

/* Neither a long message nor a deep trace overruns its buffer. */
static void test_long(void **state)
{
    (void)state;
    static char wide[10000];
    memset(wide, 'x', sizeof wide - 1);
    (void)BEAM_FAIL(BEAM_EDATA, "%s", wide);
    assert_in_range(strlen(beam_last_error()), 1000, sizeof wide - 2);
    for (int i = 0; i < 5000; i++)
        beam_trace("a/rather/long/file/name.c", i);
    assert_in_range(strlen(beam_error_trace()), 1000, 10000);
}

static void *fail_elsewhere(void *saw)
{
    strcpy(saw, beam_last_error());
    (void)BEAM_FAIL(BEAM_EIO, "of the other thread");
    return NULL;
}

static void test_threads_do_not_share(void **state)
{
    (void)state;
    (void)BEAM_FAIL(BEAM_EDATA, "mine");
    char saw[4096] = "unset";
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, fail_elsewhere, saw), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_string_equal(saw, "");
    assert_string_equal(beam_last_error(), "mine");
}

static void contract(void *holds)
{
    BEAM_ASSERT(*(const int *)holds);
}

static void test_contract_stops(void **state)
{
    (void)state;
    int yes = 1, no = 0;
    assert_true(test_stops(contract, &no));
    assert_false(test_stops(contract, &yes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_threads_do_not_share),
        cmocka_unit_test(test_contract_stops),
    };
    return cmocka_run_group_tests_name("unit.core_status", tests, NULL, NULL);
}
