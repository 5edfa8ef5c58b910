/* Reading what `beam eval --json` and a run's metrics.jsonl say, and refusing everything else. */
#include <math.h>
#include <string.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/results.h"
#include "data/scratch.h"

#define HEAD "\"loss\":1.25,\"accuracy\":0.5,\"avg_active\":1.5,\"top_k\":8"

static void an_evaluation(void **state)
{
    (void)state;
    beam_evaluation e;
    const char *path = scratch_text(
        "e.json", "{" HEAD ",\"masks\":true,\"moe_flops_saved\":0.75,\"data\":\"v.h5\",\"targets\":12,"
                  "\"distinct_experts\":{\"1\":2,\"4\":3.5},\"sample\":{\"tokenizer\":\"byte\",\"ids\":[7,8],"
                  "\"kept\":[1.5,null]},\"expert_load\":[[0.5,1,0],[0,0,1.5]],\"new\":[{}]}");
    assert_int_equal(beam_evaluation_read(path, &e), BEAM_OK);
    assert_true(e.loss == 1.25 && e.accuracy == 0.5 && e.avg_active == 1.5 && e.moe_flops_saved == 0.75);
    assert_true(e.masks && e.top_k == 8 && e.pruned_to == 0 && !e.renormalize && e.targets == 12);
    assert_string_equal(e.data, "v.h5");
    assert_int_equal(e.layers, 2);
    assert_int_equal(e.experts, 3);
    assert_true(e.load[1] == 1 && e.load[5] == 1.5);
    assert_true(e.distinct[0] == 2 && isnan(e.distinct[1]) && e.distinct[2] == 3.5 && isnan(e.distinct[8]));
    assert_string_equal(e.sample.tokenizer, "byte");
    assert_true(e.sample.n == 2 && e.sample.id[1] == 8 && e.sample.kept[0] == 1.5 && isnan(e.sample.kept[1]));
    beam_evaluation_free(&e);
}

static void what_is_unknown_is_nan(void **state)
{
    (void)state;
    beam_evaluation e;
    const char *path =
        scratch_text("n.json", "{\"loss\":null,\"accuracy\":null,\"avg_active\":null,\"top_k\":2,"
                               "\"pruned_to\":1,\"renormalize\":true}");
    assert_int_equal(beam_evaluation_read(path, &e), BEAM_OK);
    assert_true(isnan(e.loss) && isnan(e.accuracy) && isnan(e.avg_active) && isnan(e.moe_flops_saved));
    assert_true(isnan(e.distinct[0]) && e.sample.n == 0);
    assert_true(!e.load && !e.masks && e.pruned_to == 1 && e.renormalize && e.data[0] == '\0');
    beam_evaluation_free(&e);
}

static void refused(const char *json, const char *message)
{
    beam_evaluation e;
    assert_int_equal(beam_evaluation_read(scratch_text("bad.json", json), &e), BEAM_EDATA);
    assert_true(message_has("bad.json") && message_has(message));
    assert_null(e.load);
}

static void not_an_evaluation(void **state)
{
    (void)state;
    refused("", "not valid JSON");
    refused("{\"loss\":1", "not valid JSON");
    refused("[1]", "a JSON object");
    refused("{}", "not an evaluation: the key \"loss\" is missing");
    refused("{\"loss\":1,\"accuracy\":1,\"avg_active\":1}", "the key \"top_k\" is missing");
    refused("{\"loss\":\"low\",\"accuracy\":1,\"avg_active\":1,\"top_k\":1}", "\"loss\" is \"low\"");
    refused("{\"loss\":1,\"accuracy\":1.5,\"avg_active\":1,\"top_k\":1}", "a number from 0 to 1");
    refused("{\"loss\":1,\"accuracy\":1,\"avg_active\":1,\"top_k\":0}", "an integer from 1");
    refused("{\"loss\":1,\"accuracy\":1,\"avg_active\":1,\"top_k\":null}", "\"top_k\" is missing");
    refused("{" HEAD ",\"expert_load\":7}", "a list of experts for each layer");
    refused("{" HEAD ",\"expert_load\":[]}", "a list of experts for each layer");
    refused("{" HEAD ",\"expert_load\":[[]]}", "a list of experts for each layer");
    refused("{" HEAD ",\"expert_load\":[[1,2],[1]]}", "expected a list of 2 numbers");
    refused("{" HEAD ",\"expert_load\":[[1,\"x\"]]}", "holds \"x\"; expected numbers from 0");
    refused("{" HEAD ",\"expert_load\":[[1,-1]]}", "holds -1");
    refused("{" HEAD ",\"distinct_experts\":[2]}", "distinct_experts");
    refused("{" HEAD ",\"distinct_experts\":{\"2\":-1}}", "\"distinct_experts.2\" is -1");
    refused("{" HEAD ",\"sample\":{\"ids\":[1,-1],\"kept\":[1,1]}}", "-1");
    refused("{" HEAD ",\"sample\":{\"ids\":[1,2],\"kept\":[1]}}", "expected a list of 2 numbers");
    refused("{" HEAD ",\"masks\":1}", "true or false");
    beam_evaluation e;
    assert_int_equal(beam_evaluation_read(scratch_path("absent.json"), &e), BEAM_EIO);
    assert_true(message_has("absent.json"));
}

/* Writes folder/metrics.jsonl and reads it. */
static beam_status read_metrics(const char *text, beam_history *h)
{
    assert_int_equal(beam_make_folder(scratch_path("run")), BEAM_OK);
    scratch_text("run/metrics.jsonl", text);
    return beam_history_read(scratch_path("run"), h);
}

#define STEP(n, rest)                                                                                        \
    "{\"step\":" n ",\"loss\":2,\"task_loss\":1.5,\"avg_active\":3,\"penalty\":0.1,\"lr\":1e-4" rest "}\n"

static void a_history(void **state)
{
    (void)state;
    beam_history h;
    const char *text = STEP("1", ",\"active\":[3,5]") "\n" STEP(
        "2",
        ",\"active\":[4,6.5],\"skipped\":false") "{\"step\":2,\"eval_loss\":1.25,\"eval_accuracy\":null}\n"
                                                 "{\"step\":2,\"note\":\"of another kind\"}\n"
                                                 "{\"step\":5,\"loss\":null,\"active\":[null,1]}\n"
                                                 "{\"step\":6,\"lo"; /* still being written */
    assert_int_equal(read_metrics(text, &h), BEAM_OK);
    assert_int_equal(h.steps.rows, 3);
    assert_int_equal(h.layers, 2);
    assert_int_equal(h.evals.rows, 1);
    assert_true(beam_column(&h.steps, BEAM_STEP)[2] == 5 && beam_column(&h.steps, BEAM_LR)[1] == 1e-4);
    assert_true(beam_column(&h.steps, BEAM_TASK_LOSS)[0] == 1.5 &&
                isnan(beam_column(&h.steps, BEAM_LOSS)[2]));
    assert_true(beam_column(&h.steps, BEAM_STEP_COLUMNS + 1)[1] == 6.5);
    assert_true(isnan(beam_column(&h.steps, BEAM_STEP_COLUMNS)[2]));
    assert_true(beam_column(&h.evals, BEAM_EVAL_LOSS)[0] == 1.25 &&
                beam_column(&h.evals, BEAM_EVAL_STEP)[0] == 2);
    assert_true(isnan(beam_column(&h.evals, BEAM_EVAL_ACCURACY)[0]));
    beam_history_free(&h);
    assert_int_equal(read_metrics(STEP("7", ""), &h), BEAM_OK); /* no layers told */
    assert_int_equal(h.layers, 0);
    beam_history_free(&h);
}

static void no_metrics(const char *text, const char *message)
{
    beam_history h;
    assert_int_equal(read_metrics(text, &h), BEAM_EDATA);
    assert_true(message_has("metrics.jsonl") && message_has(message));
    assert_true(!h.steps.at && !h.evals.at);
}

static void not_metrics(void **state)
{
    (void)state;
    beam_history h;
    no_metrics("", "no step in it yet");
    no_metrics("{\"step\":1,\"eval_loss\":1}\n", "no step in it yet");
    no_metrics(STEP("1", "") "step 2\n", "metrics.jsonl:2");
    no_metrics(STEP("1", "") "\n[]\n", "metrics.jsonl:3: a JSON object");
    no_metrics("{\"loss\":1}\n", "metrics.jsonl:1: the key \"step\" is missing");
    no_metrics("{\"step\":1.5,\"loss\":1}\n", "\"step\" is 1.5; expected an integer");
    no_metrics(STEP("-1", ""), "\"step\" is -1");
    no_metrics("{\"step\":1,\"loss\":\"x\"}\n", "\"loss\" is \"x\"");
    no_metrics(STEP("2", "") STEP("2", ""), "metrics.jsonl:2: step 2 comes after step 2");
    no_metrics(STEP("1", ",\"active\":[1,2]") STEP("2", ",\"active\":[1]"), "expected a list of 2 numbers");
    no_metrics(STEP("1", ",\"active\":[1,2]") STEP("2", ""), "\"active\" is absent");
    no_metrics(STEP("1", ",\"active\":[\"x\"]"), "holds \"x\"");
    assert_int_equal(beam_history_read(scratch_path("no-run"), &h), BEAM_EIO);
    assert_true(message_has("no-run/metrics.jsonl"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_evaluation),     cmocka_unit_test(what_is_unknown_is_nan),
        cmocka_unit_test(not_an_evaluation), cmocka_unit_test(a_history),
        cmocka_unit_test(not_metrics),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
