/* Reading what lm-evaluation-harness writes, and refusing everything else. The shape is that of 0.4.13. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/lm_eval.h"
#include "data/scratch.h"

static const char harness[] =
    "{\"results\":{"
    "\"mmlu\":{\"name\":\"mmlu\",\"alias\":\"mmlu\",\"sample_len\":300,\"acc,none\":0.625,"
    "\"acc_stderr,none\":0.025,\"sample_count\":{\"acc,none\":300}},"
    "\"mmlu_law\":{\"alias\":\" - law\",\"acc,none\":0.5,\"acc_stderr,none\":\"N/A\"},"
    "\"suite\":{\"alias\":\"suite\",\" \":\" \"},"
    "\"gsm8k\":{\"alias\":\"gsm8k\",\"exact_match,strict-match\":0.25,\"exact_match_stderr,strict-match\":0."
    "03,"
    "\"exact_match,flexible-extract\":0.5,\"broken,none\":\"N/A\"},"
    "\"words\":{\"alias\":\"words\",\"word_perplexity,none\":31.5,\"word_perplexity_stderr,none\":null}},"
    "\"group_subtasks\":{\"mmlu\":[\"mmlu_law\"],\"suite\":[\"gsm8k\"]},"
    "\"configs\":{\"words\":{\"task\":\"words\"}},\"versions\":{\"mmlu\":2,\"words\":\"Yaml\"},"
    "\"n-shot\":{\"mmlu\":5,\"words\":0},"
    "\"higher_is_better\":{\"mmlu\":{\"acc\":true},\"mmlu_law\":{\"acc\":null},\"words\":{\"word_"
    "perplexity\":false}},"
    "\"n-samples\":{\"words\":{\"original\":9,\"effective\":7}},"
    "\"config\":{\"model\":\"hf\",\"limit\":null},\"lm_eval_version\":\"0.4.13\",\"model_name\":\"org/"
    "base\"}";

static void scores(void **state)
{
    (void)state;
    static const struct {
        const char *task, *metric, *filter;
        double value;
        bool higher, part;
    } wanted[] = {{"mmlu", "acc", "none", 0.625, true, false},
                  {"mmlu_law", "acc", "none", 0.5, false, true},
                  {"gsm8k", "exact_match", "strict-match", 0.25, false, false},
                  {"gsm8k", "exact_match", "flexible-extract", 0.5, false, false},
                  {"words", "word_perplexity", "none", 31.5, false, false}};
    beam_lm_eval e;
    assert_int_equal(beam_lm_eval_read(scratch_text("r.json", harness), &e), BEAM_OK);
    assert_int_equal(e.n, sizeof wanted / sizeof *wanted);
    assert_string_equal(e.model, "org/base");
    for (int i = 0; i < e.n; i++) {
        assert_string_equal(e.score[i].task, wanted[i].task);
        assert_string_equal(e.score[i].metric, wanted[i].metric);
        assert_string_equal(e.score[i].filter, wanted[i].filter);
        assert_true(e.score[i].value == wanted[i].value);
        assert_true(e.score[i].higher_is_better == wanted[i].higher && e.score[i].part == wanted[i].part);
        assert_ptr_equal(beam_lm_eval_find(&e, &e.score[i]), &e.score[i]);
    }
    assert_true(e.score[0].error == 0.025 && isnan(e.score[1].error) && e.score[2].error == 0.03);
    assert_true(isnan(e.score[3].error) && isnan(e.score[4].error));
    assert_true(e.score[0].n_shot == 5 && e.score[0].questions == -1 && e.score[1].n_shot == -1);
    assert_true(e.score[4].n_shot == 0 && e.score[4].questions == 7);
    beam_lm_eval_free(&e);
}

static void read_one(const char *name, const char *task, beam_lm_eval *out)
{
    char text[200];
    snprintf(text, sizeof text, "{\"results\":{\"%s\":{\"acc,none\":1,\"acc_norm,none\":1}}}", task);
    assert_int_equal(beam_lm_eval_read(scratch_text(name, text), out), BEAM_OK);
    assert_true(out->model[0] == '\0' && out->n == 2);
}

static void files_of_one_model(void **state)
{
    (void)state;
    beam_lm_eval a, b, c;
    read_one("a.json", "one", &a);
    read_one("b.json", "two", &b);
    read_one("c.json", "one", &c);
    assert_int_equal(beam_lm_eval_join("b.json", &b, &a), BEAM_OK);
    assert_int_equal(a.n, 4);
    assert_string_equal(a.score[3].task, "two");
    assert_int_equal(beam_lm_eval_join("c.json", &c, &a), BEAM_EDATA);
    assert_true(message_has("c.json: \"acc,none\" of one was in a file of the same model before"));
    assert_int_equal(a.n, 4);
    beam_lm_eval_free(&a);
    beam_lm_eval_free(&b);
    beam_lm_eval_free(&c);
}

static void kinds_of_file(void **state)
{
    (void)state;
    bool yes;
    assert_int_equal(beam_lm_eval_recognise(scratch_text("k.json", harness), &yes), BEAM_OK);
    assert_true(yes);
    assert_int_equal(beam_lm_eval_recognise(scratch_text("k.json", "{\"loss\":1}"), &yes), BEAM_OK);
    assert_false(yes);
    assert_int_equal(beam_lm_eval_recognise(scratch_text("k.json", "x"), &yes), BEAM_EDATA);
    assert_int_equal(beam_lm_eval_recognise(scratch_path("absent.json"), &yes), BEAM_EIO);
}

static void refused(const char *json, const char *message)
{
    beam_lm_eval e;
    assert_int_equal(beam_lm_eval_read(scratch_text("bad.json", json), &e), BEAM_EDATA);
    assert_true(message_has("bad.json") && message_has(message));
    assert_true(!e.score && e.n == 0);
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123"

static void not_the_harness(void **state)
{
    (void)state;
    refused("{\"results\":{\"t\":{\"acc,none\":NaN}}}", "not valid JSON");
    refused("{}", "\"results\" is missing");
    refused("{\"results\":[]}", "\"results\" is []; expected an object");
    refused("{\"results\":{}}", "\"results\" holds no score");
    refused("{\"results\":{\"t\":{\"alias\":\"t\",\"acc,none\":\"N/A\"}}}", "holds no score");
    refused("{\"results\":{\"t\":1}}", "\"results.t\" is 1");
    refused("{\"results\":{\"t\":{\"acc,none\":true}}}", "\"results.t.acc,none\" is true; expected a number");
    refused("{\"results\":{\"t\":{\"acc,none\":1,\"acc_stderr,none\":-1}}}", "acc_stderr,none\" is -1");
    refused("{\"results\":{\"t\":{\",none\":1}}}", "have 1 to 63 bytes");
    refused("{\"results\":{\"t\":{\"acc,\":1}}}", "have 1 to 63 bytes");
    refused("{\"results\":{\"t\":{\"acc," LONG "\":1}}}", "have 1 to 63 bytes");
    refused("{\"results\":{\"" LONG LONG "\":{\"acc,none\":1}}}", "have 1 to 127 bytes");
    refused("{\"results\":{\"t\":{\"acc,none\":1}},\"n-shot\":[]}", "\"n-shot\" is []");
    refused("{\"results\":{\"t\":{\"acc,none\":1}},\"n-samples\":{\"t\":1}}", "\"n-samples.t\" is 1");
    refused("{\"results\":{\"t\":{\"acc,none\":1}},\"higher_is_better\":{\"t\":{\"acc\":1}}}",
            "true or false");
    refused("{\"results\":{\"t\":{\"acc,none\":1}},\"group_subtasks\":{\"g\":1}}", "of \"g\" are no list");
    refused("{\"results\":{\"t\":{\"acc,none\":1}},\"model_name\":1}", "\"model_name\" is 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores),
        cmocka_unit_test(files_of_one_model),
        cmocka_unit_test(kinds_of_file),
        cmocka_unit_test(not_the_harness),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
