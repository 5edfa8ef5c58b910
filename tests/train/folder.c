/* What a run does with its folder: which checkpoints stay, what a cut-off run leaves, what it refuses. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/tiny_run.h"

static const char *inside(const beam_config *c, const char *name)
{
    static char path[BEAM_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", c->output_dir, name);
    return path;
}

static void expect_checkpoints(const beam_config *c, const int *steps, int n)
{
    char name[32];
    assert_int_equal(scratch_count(c->output_dir, "checkpoint-"), n);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "checkpoint-%06d", steps[i]);
        assert_int_equal(access(inside(c, name), F_OK), 0);
    }
}

static void the_newest_checkpoints_stay(void **state)
{
    (void)state;
    static const char *const often[] = {"save_steps=3", "save_total_limit=2", NULL};
    static const char *const end[] = {"save_steps=0", NULL};
    beam_config c = tiny_run_config("often", often);
    tiny_run_expect(&c, 0, BEAM_OK);
    expect_checkpoints(&c, (const int[]){6, 8}, 2); /* of 3, 6 and the last */
    c = tiny_run_config("end", end);
    tiny_run_expect(&c, 0, BEAM_OK);
    expect_checkpoints(&c, (const int[]){8}, 1);
}

/* Steps that are too large: the loss is least at the start. */
static void the_best_checkpoint_stays(void **state)
{
    (void)state;
    static const char *const keys[] = {"save_steps=1",  "save_total_limit=2", "eval_steps=1",
                                       "trainable=all", "learning_rate=1",    NULL};
    const beam_config c = tiny_run_config("best", keys);
    tiny_run_expect(&c, 0, BEAM_OK);
    double least = INFINITY;
    int best = 0;
    size_t size;
    char *text = scratch_read(inside(&c, "metrics.jsonl"), &size);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        double loss;
        int step;
        if (sscanf(line, "{\"step\":%d,\"eval_loss\":%lf", &step, &loss) == 2 && loss < least) {
            least = loss;
            best = step;
        }
    }
    free(text);
    assert_in_range(best, 1, 6);
    expect_checkpoints(&c, (const int[]){best, 7, 8}, 3);
}

static void a_longer_run_is_not_overtaken(void **state)
{
    (void)state;
    static const char *const anew[] = {"resume_from_checkpoint=none", NULL};
    const beam_config first = tiny_run_config("overtaken", NULL);
    tiny_run_expect(&first, 5, BEAM_STOPPED);
    assert_true(message_has("the same command"));
    beam_config c = tiny_run_config("overtaken", anew);
    tiny_run_expect(&c, 0, BEAM_ECONFIG);
    assert_true(message_has("checkpoint-000005"));
    assert_true(tiny_run_metric(&first, "step") == 5); /* nothing of the first run is lost */
    tiny_run_expect(&first, 0, BEAM_OK);
    c = tiny_run_config("anew", anew);
    tiny_run_expect(&c, 2, BEAM_STOPPED);
    assert_true(message_has("resume_from_checkpoint: auto"));
}

/* Naming the checkpoint goes on with other settings. */
static void a_named_checkpoint(void **state)
{
    (void)state;
    const beam_config first = tiny_run_config("named", NULL);
    tiny_run_expect(&first, 5, BEAM_STOPPED);
    char resume[BEAM_PATH_MAX + 96];
    snprintf(resume, sizeof resume, "resume_from_checkpoint=%s", inside(&first, "checkpoint-000005"));
    const char *const slower[] = {"learning_rate=0.001", resume, NULL};
    const beam_config c = tiny_run_config("named", slower);
    tiny_run_expect(&c, 0, BEAM_OK);
    expect_checkpoints(&c, (const int[]){5, 8}, 2);
}

static void a_refused_configuration_leaves_the_old_one(void **state)
{
    (void)state;
    static const char *const faster[] = {"learning_rate=0.05", NULL};
    const beam_config first = tiny_run_config("refused", NULL), c = tiny_run_config("refused", faster);
    tiny_run_expect(&first, 3, BEAM_STOPPED);
    tiny_run_expect(&c, 0, BEAM_ECONFIG);
    size_t size;
    char *text = scratch_read(inside(&first, "config.resolved.yaml"), &size);
    assert_non_null(strstr(text, "learning_rate: 0.01"));
    free(text);
}

static void a_target_above_top_k(void **state)
{
    (void)state;
    static const char *const keys[] = {"mask.target_active=4", NULL};
    const beam_config c = tiny_run_config("above", keys);
    tiny_run_expect(&c, 0, BEAM_ECONFIG);
    assert_true(message_has("3 experts"));
}

/* A process killed while it wrote: lines after the checkpoint, the last one cut off. */
static void lines_after_the_checkpoint_are_dropped(void **state)
{
    (void)state;
    const beam_config whole = tiny_run_config("lines-whole", NULL), c = tiny_run_config("lines", NULL);
    tiny_run_expect(&whole, 0, BEAM_OK);
    tiny_run_expect(&c, 5, BEAM_STOPPED);
    FILE *f = fopen(inside(&c, "metrics.jsonl"), "a");
    assert_non_null(f);
    assert_true(fputs("{\"step\":6,\"loss\":1}\n{\"step\":7,\"lo", f) >= 0 && fclose(f) == 0);
    tiny_run_expect(&c, 0, BEAM_OK);
    tiny_run_same(&whole, &c);
}

/* No file may grow beyond 8 kB, as if the disk were full: the metrics hit that first. */
static int run_on_a_full_disk(const beam_config *c)
{
    const struct rlimit limit = {8192, 8192};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return 99;
    const beam_status status = tiny_run(c, 0);
    return message_has("metrics.jsonl: cannot write") ? beam_exit_code(status) : 98;
}

static void a_full_disk_loses_no_checkpoint(void **state)
{
    (void)state;
    static const char *const longer[] = {"max_steps=60", "eval_steps=0", NULL};
    const beam_config whole = tiny_run_config("full-whole", longer), c = tiny_run_config("full", longer);
    tiny_run_expect(&whole, 0, BEAM_OK);
    tiny_run_expect(&c, 4, BEAM_STOPPED);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(run_on_a_full_disk(&c));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 5);
    tiny_run_expect(&c, 0, BEAM_OK);
    tiny_run_same(&whole, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_checkpoints_stay),
        cmocka_unit_test(the_best_checkpoint_stays),
        cmocka_unit_test(a_longer_run_is_not_overtaken),
        cmocka_unit_test(a_named_checkpoint),
        cmocka_unit_test(a_refused_configuration_leaves_the_old_one),
        cmocka_unit_test(a_target_above_top_k),
        cmocka_unit_test(lines_after_the_checkpoint_are_dropped),
        cmocka_unit_test(a_full_disk_loses_no_checkpoint),
    };
    return cmocka_run_group_tests(tests, tiny_run_open, scratch_close);
}
