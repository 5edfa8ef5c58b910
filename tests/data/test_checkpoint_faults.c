/* Checkpoints under faults: a kill at any moment, a full disk, what dead processes leave. A finished
 * checkpoint is never lost, and the newest one always loads. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/rng.h"
#include "data/checkpoint.h"
#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/scratch.h"

enum { COUNT = 10000, KILLS = 30 };

static void fill_array(float *x, int64_t step)
{
    for (uint64_t i = 0; i < COUNT; i++)
        x[i] = (float)beam_random_uniform(3, (uint64_t)step, i); /* does not compress */
}

static beam_array view_array(float *x)
{
    return (beam_array){"weight", beam_view(x, BEAM_F32, BEAM_DIMS(COUNT))};
}

static beam_status write_step(const char *out_dir, int64_t step)
{
    static float x[COUNT];
    const beam_array a = view_array(x);
    const beam_checkpoint_state s = {.step = step, .seconds = (double)step / 7, .eval_loss = -1};
    fill_array(x, step);
    return beam_checkpoint_write(out_dir, &s, &a, 1, "seed: 1\n");
}

/* Loads the newest checkpoint, which must be whole, and returns its step; -1 if there is none. */
static int64_t load_newest(const char *out_dir)
{
    static float x[COUNT], wanted[COUNT];
    const beam_array a = view_array(x);
    char path[512];
    bool found;
    beam_checkpoint_state s;
    assert_int_equal(beam_checkpoint_newest(out_dir, path, sizeof path, &found), BEAM_OK);
    if (!found)
        return -1;
    memset(x, 0, sizeof x);
    assert_int_equal(beam_checkpoint_read(path, &s, &a, 1), BEAM_OK);
    fill_array(wanted, s.step);
    assert_memory_equal(x, wanted, sizeof x);
    assert_true(s.seconds == (double)s.step / 7);
    return s.step;
}

/* Saves forever, each step twice (the second replaces the first), prunes, and reports every finished step. */
static void save_forever(const char *out_dir, int64_t first, int report)
{
    for (int64_t step = first;; step++)
        for (int twice = 0; twice < 2; twice++)
            if (write_step(out_dir, step) != BEAM_OK || beam_checkpoint_prune(out_dir, 2, 1) != BEAM_OK ||
                write(report, &step, sizeof step) != sizeof step) {
                fprintf(stderr, "%s\n", beam_last_error());
                _exit(1);
            }
}

static void sleep_microseconds(long us)
{
    const struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

/* Starts a saver at step `first`, kills it after its first report and `us` microseconds; its last report. */
static int64_t kill_saver(const char *out_dir, int64_t first, long us)
{
    int report[2], status = 0;
    int64_t step = -1, next;
    assert_int_equal(pipe(report), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(report[0]);
        save_forever(out_dir, first, report[1]);
    }
    close(report[1]);
    assert_int_equal(read(report[0], &step, sizeof step), sizeof step);
    sleep_microseconds(us);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(report[0], &next, sizeof next) == sizeof next)
        step = next;
    close(report[0]);
    return step;
}

static void survives_kills(void **state)
{
    (void)state;
    const char *out = scratch_path("kills");
    int64_t newest = 0;
    for (uint64_t k = 0; k < KILLS; k++) {
        const long us = (long)(beam_random_bits(11, 0, k) % 30000);
        const int64_t reported = kill_saver(out, newest + 1, us);
        newest = load_newest(out);
        assert_true(newest >= reported);
        assert_true(newest <= reported + 1);
    }
    assert_int_equal(write_step(out, newest + 1), BEAM_OK);
    assert_int_equal(beam_checkpoint_prune(out, 2, 1), BEAM_OK);
    assert_int_equal(scratch_count(out, ".tmp-"), 0);
    assert_int_equal(scratch_count(out, ".old-"), 0);
    assert_int_equal(scratch_count(out, ""), 3); /* the two newest and step 1 */
}

/* A child that may write files of at most `limit` bytes saves step 2: the status of the save. */
static int save_with_limit(const char *out_dir, rlim_t limit)
{
    int status = 0;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit r = {.rlim_cur = limit, .rlim_max = limit};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &r) != 0)
            _exit(99);
        const beam_status s = write_step(out_dir, 2);
        if (s != BEAM_OK && !strstr(beam_last_error(), "File too large"))
            _exit(98);
        _exit((int)s);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_full_disk_is_an_error_message(void **state)
{
    (void)state;
    const char *out = scratch_path("full");
    assert_int_equal(write_step(out, 1), BEAM_OK);
    int refused = 0, status = BEAM_EIO;
    for (rlim_t limit = 0; status == BEAM_EIO; limit += 1500) {
        status = save_with_limit(out, limit);
        if (status != BEAM_EIO)
            break;
        assert_int_equal(scratch_count(out, ""), 1);
        assert_int_equal(load_newest(out), 1);
        refused++;
    }
    assert_int_equal(status, BEAM_OK);
    assert_true(refused >= 20);
    assert_int_equal(load_newest(out), 2);
}

/* A process id that no longer runs. */
static long dead_process(void)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return (long)child;
}

static void cleans_what_dead_processes_left(void **state)
{
    (void)state;
    char dead[64], alive[64];
    const char *out = scratch_path("left");
    assert_int_equal(write_step(out, 1), BEAM_OK);
    snprintf(dead, sizeof dead, "left/checkpoint-000002.tmp-%ld", dead_process());
    snprintf(alive, sizeof alive, "left/checkpoint-000002.tmp-%ld", (long)getppid());
    assert_int_equal(beam_make_folder(scratch_path(dead)), BEAM_OK);
    assert_int_equal(beam_make_folder(scratch_path(alive)), BEAM_OK);
    assert_int_equal(load_newest(out), 1);
    assert_int_equal(write_step(out, 2), BEAM_OK);
    assert_false(beam_folder_exists(scratch_path(dead)));
    assert_true(beam_folder_exists(scratch_path(alive)));
    assert_int_equal(load_newest(out), 2);
}

/* Killed between the two renames of a replacement: the old one is found, and put back by the next save. */
static void finds_what_was_moved_aside(void **state)
{
    (void)state;
    char aside[64];
    const char *out = scratch_path("aside"), *place = scratch_path("aside/checkpoint-000005");
    assert_int_equal(write_step(out, 4), BEAM_OK);
    assert_int_equal(write_step(out, 5), BEAM_OK);
    snprintf(aside, sizeof aside, "aside/checkpoint-000005.old-%ld", dead_process());
    assert_int_equal(rename(place, scratch_path(aside)), 0);
    assert_int_equal(load_newest(out), 5);
    assert_int_equal(write_step(out, 6), BEAM_OK);
    assert_true(beam_folder_exists(place));
    assert_int_equal(scratch_count(out, ".old-"), 0);
    assert_int_equal(beam_remove_folder(scratch_path("aside/checkpoint-000006")), BEAM_OK);
    assert_int_equal(load_newest(out), 5);
}

static void names_what_it_cannot_write(void **state)
{
    (void)state;
    scratch_text("a-file", "x");
    assert_int_equal(write_step(scratch_path("a-file"), 1), BEAM_EIO);
    assert_true(message_has("a-file"));
    assert_int_equal(write_step(scratch_path("a-file/below"), 1), BEAM_EIO);
    assert_int_equal(beam_make_folder(scratch_path("taken")), BEAM_OK);
    scratch_text("taken/checkpoint-000001", "not a folder");
    assert_int_equal(write_step(scratch_path("taken"), 1), BEAM_EIO);
    assert_true(message_has("not a folder"));
    assert_int_equal(scratch_count(scratch_path("taken"), ""), 1);
    assert_true(beam_file_exists(scratch_path("taken/checkpoint-000001")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_kills),
        cmocka_unit_test(a_full_disk_is_an_error_message),
        cmocka_unit_test(cleans_what_dead_processes_left),
        cmocka_unit_test(finds_what_was_moved_aside),
        cmocka_unit_test(names_what_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
