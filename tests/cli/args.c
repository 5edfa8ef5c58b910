/* The command line of a verb: options of every kind, what is left over and in which order, what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cli/args.h"

enum { MOST_ARGUMENTS = 16 };

typedef struct {
    char words[256];            /* the command line, cut at its spaces */
    char *argv[MOST_ARGUMENTS]; /* into words; rest.at points into it */
    bool flag;
    const char *text;
    int64_t number;
    double real;
    beam_args rest;
} result;

/* Parses "verb" and these arguments, separated by single spaces. */
static beam_status parse(const char *line, bool overrides, result *r)
{
    *r = (result){.words = "verb ", .text = "unset", .number = -1, .real = -1};
    int argc = 0;
    strcat(r->words, line);
    for (char *p = strtok(r->words, " "); p; p = strtok(NULL, " "))
        r->argv[argc++] = p;
    const beam_option options[] = {
        {"flag", BEAM_FLAG, &r->flag, NULL, "a flag"},
        {"text", BEAM_TEXT, &r->text, "TEXT", "a text"},
        {"number", BEAM_INT, &r->number, "N", "a whole number"},
        {"real", BEAM_REAL, &r->real, "X", "a number"},
    };
    const beam_command command = {.synopsis = "verb FILE",
                                  .about = "about",
                                  .examples = "none",
                                  .options = options,
                                  .n = 4,
                                  .min = 1,
                                  .max = 2,
                                  .overrides = overrides};
    return beam_args_parse(&command, argc, r->argv, &r->rest);
}

static void test_every_kind(void **state)
{
    (void)state;
    result r;
    assert_int_equal(parse("--number=-7 a --text --real b --real 2.5e3 --flag", false, &r), BEAM_OK);
    assert_true(r.flag && r.real == 2500);
    assert_int_equal(r.number, -7);
    assert_string_equal(r.text, "--real");
    assert_int_equal(r.rest.n, 2);
    assert_string_equal(r.rest.at[0], "a");
    assert_string_equal(r.rest.at[1], "b");
    assert_false(r.rest.help);
}

static void test_absent_options_keep_their_value(void **state)
{
    (void)state;
    result r;
    assert_int_equal(parse("a", false, &r), BEAM_OK);
    assert_string_equal(r.text, "unset");
    assert_int_equal(r.number, -1);
    assert_false(r.flag);
}

static void test_overrides_keep_their_order(void **state)
{
    (void)state;
    result r;
    const char *line = "run.yaml x=1 --mask.bias -2 --flag --y=3 --number 4 --z";
    assert_int_equal(parse(line, true, &r), BEAM_OK);
    static const char *const expected[] = {"run.yaml", "x=1", "--mask.bias", "-2", "--y=3", "--z"};
    assert_int_equal(r.rest.n, 6);
    for (int i = 0; i < 6; i++)
        assert_string_equal(r.rest.at[i], expected[i]);
    assert_true(r.flag);
    assert_int_equal(r.number, 4);
}

static void refuses(const char *line, bool overrides, const char *says)
{
    result r;
    assert_int_equal(parse(line, overrides, &r), BEAM_ECONFIG);
    if (!strstr(beam_last_error(), says))
        fail_msg("%s: \"%s\" lacks \"%s\"", line, beam_last_error(), says);
}

static void test_refusals(void **state)
{
    (void)state;
    refuses("", false, "too few arguments; usage: beam verb FILE");
    refuses("a b c", false, "unexpected argument \"c\"");
    refuses("a --flga", false, "unknown option --flga; did you mean --flag?");
    refuses("a --unheard=1", false, "unknown option --unheard; `beam verb --help` lists the options");
    refuses("--unheard=1 a", true, "unknown option --unheard before the configuration file");
    refuses("a --flag -xy", false, "unknown option -x");
    refuses("a -x", true, "unknown option -x");
    refuses("a --flag=yes", false, "--flag takes no value");
    refuses("a --help=yes", true, "--help takes no value");
    refuses("a --text", false, "--text needs a value");
    refuses("a --number 1.5", false, "--number takes a whole number, not \"1.5\"");
    refuses("a --number 99999999999999999999", false, "--number takes a whole number");
    refuses("a --real nan", false, "--real takes a number, not \"nan\"");
    refuses("a --real 1e999", false, "--real takes a number");
    refuses("a --real 1x", false, "--real takes a number");
}

static void test_help(void **state)
{
    (void)state;
    result r;
    assert_int_equal(parse("--help --unheard", false, &r), BEAM_OK);
    assert_true(r.rest.help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),
        cmocka_unit_test(test_absent_options_keep_their_value),
        cmocka_unit_test(test_overrides_keep_their_order),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
