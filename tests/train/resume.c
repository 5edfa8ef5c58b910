/* A run that was stopped and resumed equals the uninterrupted one in every bit; so does one with other
 * threads or with recomputation. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/checkpoint.h"
#include "train/signals.h"
#include "train/tiny_run.h"

static const char *const *const plain = NULL;
static const char *const controller[] = {"mask.penalty=null", "mask.target_active=1.5", NULL};
static const char *const everything[] = {"trainable=all", "router_aux_loss_coef=0.01", "weight_decay=0.1",
                                         "gradient_accumulation_steps=3", NULL};

/* Stops after each of the given steps in turn, then runs to the end. */
static void check_resume(const char *name, const char *const overrides[], const int64_t *stops, int n)
{
    char whole[64], parts[64];
    snprintf(whole, sizeof whole, "%s-whole", name);
    snprintf(parts, sizeof parts, "%s-parts", name);
    const beam_config a = tiny_run_config(whole, overrides), b = tiny_run_config(parts, overrides);
    tiny_run_expect(&a, 0, BEAM_OK);
    for (int i = 0; i < n; i++)
        tiny_run_expect(&b, stops[i], BEAM_STOPPED);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_same(&a, &b);
}

static void fixed_penalty(void **state)
{
    (void)state;
    const int64_t stops[] = {1, 2, 1};
    check_resume("fixed", plain, stops, 3);
}

static void target_controller(void **state)
{
    (void)state;
    const int64_t stops[] = {3, 4};
    check_resume("controller", controller, stops, 2);
}

static void all_weights_three_micro_batches(void **state)
{
    (void)state;
    const int64_t stops[] = {5};
    check_resume("everything", everything, stops, 1);
}

static void a_finished_run_stays_finished(void **state)
{
    (void)state;
    const beam_config a = tiny_run_config("finished", plain), b = tiny_run_config("finished-once", plain);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_same(&a, &b);
}

static void threads_and_recomputation(void **state)
{
    (void)state;
    static const char *const other[] = {"threads=2", "gradient_checkpointing=true", NULL};
    const beam_config a = tiny_run_config("one-thread", plain), b = tiny_run_config("two-threads", other);
    tiny_run_expect(&a, 0, BEAM_OK);
    tiny_run_expect(&b, 0, BEAM_OK);
    tiny_run_same(&a, &b);
}

static off_t metrics_size(const beam_config *c)
{
    char path[BEAM_PATH_MAX + 32];
    struct stat info;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->output_dir);
    return stat(path, &info) == 0 ? info.st_size : 0;
}

/* Signals the run once it has made a step: it saves, and ends with 7. */
static void signal_once(const beam_config *c, int number)
{
    const off_t before = metrics_size(c);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(beam_exit_code(tiny_run(c, 0)));
    for (int wait = 0; wait < 20000 && metrics_size(c) <= before; wait++)
        usleep(1000);
    kill(child, number);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

/* SIGUSR1 and SIGTERM to a job that has made its first steps, far from its last: exit code 7, and the next
 * run goes on from there. */
static void signals_save(void **state)
{
    (void)state;
    static const char *const longer[] = {"max_steps=1500", NULL};
    const int numbers[] = {SIGUSR1, SIGTERM};
    const beam_config whole = tiny_run_config("signal-whole", longer), c = tiny_run_config("signal", longer);
    tiny_run_expect(&whole, 0, BEAM_OK);
    for (int i = 0; i < 2; i++)
        signal_once(&c, numbers[i]);
    tiny_run_expect(&c, 0, BEAM_OK);
    tiny_run_same(&whole, &c);
}

/* The newest checkpoint is of a step whose evaluation did not end. */
static bool owes_evaluation(const beam_config *c)
{
    char path[BEAM_PATH_MAX + 64];
    beam_checkpoint_state s;
    bool found;
    assert_int_equal(beam_checkpoint_newest(c->output_dir, path, sizeof path, &found), BEAM_OK);
    assert_int_equal(beam_checkpoint_read_state(path, &s), BEAM_OK);
    return s.eval_loss < 0;
}

/* Evaluations take most of the time: a signal stops them, and the next start makes up for them. */
static void signals_stop_an_evaluation(void **state)
{
    (void)state;
    static const char *const evaluating[] = {"max_steps=40", "eval_steps=1", "eval_rows=0", NULL};
    const beam_config whole = tiny_run_config("eval-whole", evaluating),
                      c = tiny_run_config("eval", evaluating);
    int stopped = 0;
    tiny_run_expect(&whole, 0, BEAM_OK);
    for (int i = 0; i < 8; i++) {
        signal_once(&c, SIGTERM);
        stopped += owes_evaluation(&c);
    }
    assert_true(stopped > 0);
    tiny_run_expect(&c, 0, BEAM_OK);
    assert_false(owes_evaluation(&c));
    tiny_run_same(&whole, &c);
}

/* So that a kill right after it does not have it made, and logged, once more. */
static void a_late_evaluation_is_saved(void **state)
{
    (void)state;
    static const char *const never[] = {"eval_steps=0", "save_steps=0", NULL};
    static const char *const due[] = {"eval_steps=4", "save_steps=0", NULL};
    char path[BEAM_PATH_MAX + 64];
    beam_checkpoint_state s;
    const beam_config before = tiny_run_config("late", never), c = tiny_run_config("late", due);
    tiny_run_expect(&before, 4, BEAM_STOPPED);
    assert_true(owes_evaluation(&before));
    tiny_run_expect(&c, 1, BEAM_STOPPED);
    snprintf(path, sizeof path, "%s/checkpoint-000004", c.output_dir);
    assert_int_equal(beam_checkpoint_read_state(path, &s), BEAM_OK);
    assert_true(s.eval_loss >= 0);
}

/* As with nohup: SIGHUP stays ignored where it was. A closed terminal otherwise saves. */
static void a_closed_terminal_saves(void **state)
{
    (void)state;
    static const char *const longer[] = {"max_steps=100000", "eval_steps=0", NULL};
    const beam_config c = tiny_run_config("terminal", longer);
    signal_once(&c, SIGHUP);
    const beam_config ignoring = tiny_run_config("nohup", NULL);
    signal(SIGHUP, SIG_IGN);
    beam_signals_listen();
    raise(SIGHUP);
    assert_false(beam_signals_stop());
    signal(SIGHUP, SIG_DFL);
    tiny_run_expect(&ignoring, 0, BEAM_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_penalty),
        cmocka_unit_test(target_controller),
        cmocka_unit_test(all_weights_three_micro_batches),
        cmocka_unit_test(a_finished_run_stays_finished),
        cmocka_unit_test(threads_and_recomputation),
        cmocka_unit_test(signals_save),
        cmocka_unit_test(signals_stop_an_evaluation),
        cmocka_unit_test(a_late_evaluation_is_saved),
        cmocka_unit_test(a_closed_terminal_saves),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
