/* A run's event files: the numbers of metrics.jsonl, over every start; none where none are wanted; and no run
 * is lost for them. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "data/events.h"
#include "data/file.h"
#include "train/metrics.h"
#include "train/tiny_run.h"

enum { STEP_VALUES = 9 + 2, EVAL_VALUES = 4 }; /* without balance_loss; two layers */

static char *read_metrics(const beam_config *c)
{
    char path[BEAM_PATH_MAX + 32];
    size_t size;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->output_dir);
    return scratch_read(path, &size);
}

/* The number that metrics.jsonl has for a point. */
static double expected(const char *lines, const event_point *p)
{
    char key[160];
    int layer = -1;
    const char *name = strchr(p->tag, '/');
    assert_non_null(name);
    if (sscanf(p->tag, "active/layer_%02d", &layer) == 1)
        snprintf(key, sizeof key, "\"active\":[");
    else
        snprintf(key, sizeof key, "\"%s%s\":", strncmp(p->tag, "eval/", 5) == 0 ? "eval_" : "", name + 1);
    for (const char *line = lines; *line; line = strchr(line, '\n') + 1) {
        const char *at = strstr(line, key), *end = strchr(line, '\n');
        assert_non_null(end);
        if (atoll(line + strlen("{\"step\":")) != p->step || !at || at > end)
            continue;
        at += strlen(key);
        for (; layer > 0; layer--)
            at = strchr(at, ',') + 1;
        return atof(at);
    }
    fail_msg("metrics.jsonl has no %s of step %lld", p->tag, (long long)p->step);
    return NAN;
}

/* What TensorBoard shows is what metrics.jsonl says: each number, and each once. */
static void check_points(const beam_config *c, int files, int steps, int evals)
{
    char *lines = read_metrics(c);
    event_file e = events_of_folder(c->output_dir);
    assert_int_equal(scratch_count(c->output_dir, "tfevents"), files);
    assert_int_equal(e.n, steps * STEP_VALUES + evals * EVAL_VALUES);
    for (int i = 0; i < e.n; i++) {
        const double value = expected(lines, &e.at[i]);
        if (!(fabs(e.at[i].value - value) <= 1e-5 * fabs(value)))
            fail_msg("%s of step %lld: %g instead of %g", e.at[i].tag, (long long)e.at[i].step,
                     (double)e.at[i].value, value);
        for (int k = 0; k < i; k++)
            assert_true(e.at[k].step != e.at[i].step || strcmp(e.at[k].tag, e.at[i].tag) != 0);
    }
    events_free(&e);
    free(lines);
}

/* Stopped after 5 steps; then as if killed there, with the checkpoint of step 3 as the last. */
static void two_starts(void **state)
{
    (void)state;
    static const char *const often[] = {"save_steps=3", NULL};
    const beam_config c = tiny_run_config("two", often);
    tiny_run_expect(&c, 5, BEAM_STOPPED);
    check_points(&c, 1, 5, 1);
    char newest[BEAM_PATH_MAX + 32];
    snprintf(newest, sizeof newest, "%s/checkpoint-000005", c.output_dir);
    assert_int_equal(beam_remove_folder(newest), BEAM_OK);
    tiny_run_expect(&c, 0, BEAM_OK);
    check_points(&c, 2, 8, 2);
    tiny_run_expect(&c, 0, BEAM_OK); /* nothing left to do: nothing is dropped */
    check_points(&c, 3, 8, 2);
}

static void none(void **state)
{
    (void)state;
    static const char *const keys[] = {"report_to=none", NULL};
    const beam_config c = tiny_run_config("none", keys), with = tiny_run_config("with", NULL);
    tiny_run_expect(&c, 0, BEAM_OK);
    assert_int_equal(scratch_count(c.output_dir, "tfevents"), 0);
    tiny_run_expect(&with, 0, BEAM_OK);
    tiny_run_same(&c, &with);
}

/* Twelve evaluations under a limit that events hit before the shorter lines do. */
static int log_on_a_full_disk(const beam_config *c, const char *log)
{
    const struct rlimit limit = {1500, 1500};
    beam_trainer t = {.config = c};
    beam_metrics m = {0};
    const beam_eval_result r = {.loss = 1, .accuracy = 0.5, .avg_active = 2};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || beam_log_also_to(log) != 0)
        return 99;
    if (beam_metrics_open(&m, c, 0) != BEAM_OK)
        return 98;
    for (t.state.step = 1; t.state.step <= 12; t.state.step++)
        if (beam_metrics_eval(&m, &t, &r) != BEAM_OK)
            return 97;
    return beam_metrics_close(&m) == BEAM_OK ? 0 : 96;
}

static void a_run_goes_on_without(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("full", NULL);
    const char *log = scratch_path("full.log");
    assert_int_equal(beam_make_folder(c.output_dir), BEAM_OK);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(log_on_a_full_disk(&c, log));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);

    size_t size;
    char *text = scratch_read(log, &size);
    const char *warning = strstr(text, "cannot write: File too large; training goes on without TensorBoard");
    assert_non_null(warning);
    assert_null(strstr(warning + 1, "cannot write")); /* once */
    free(text);
    event_file e = events_of_folder(c.output_dir);
    assert_true(e.torn && e.n > 0 && e.n % EVAL_VALUES == 0 && e.n < 12 * EVAL_VALUES);
    events_free(&e);
    char *lines = read_metrics(&c);
    assert_non_null(strstr(lines, "\n{\"step\":12,"));
    free(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_starts),
        cmocka_unit_test(none),
        cmocka_unit_test(a_run_goes_on_without),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
