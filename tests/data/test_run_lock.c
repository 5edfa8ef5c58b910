/* The lock of a run's folder: one process at a time, released however the process ends. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/checkpoint.h"
#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/scratch.h"

/* A child that takes the lock, says so, and waits to be killed. */
static pid_t hold_lock(const char *folder)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        int fd;
        if (beam_run_lock(folder, &fd) != BEAM_OK || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void a_second_process_is_refused(void **state)
{
    (void)state;
    const char *folder = scratch_path("run/inner");
    for (int i = 0; i < 20; i++) {
        int fd;
        char holder[64];
        const pid_t child = hold_lock(folder);
        snprintf(holder, sizeof holder, "process %ld on ", (long)child);
        assert_int_equal(beam_run_lock(folder, &fd), BEAM_EIO);
        assert_int_equal(fd, -1);
        assert_true(message_has(holder) && message_has("run/inner"));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(beam_run_lock(folder, &fd), BEAM_OK);
        beam_run_unlock(fd);
    }
}

static void can_be_taken_again(void **state)
{
    (void)state;
    int first, second;
    const char *folder = scratch_path("again");
    assert_int_equal(beam_run_lock(folder, &first), BEAM_OK);
    assert_int_equal(beam_run_lock(folder, &second), BEAM_EIO);
    beam_run_unlock(second);
    beam_run_unlock(first);
    assert_int_equal(beam_run_lock(folder, &second), BEAM_OK);
    beam_run_unlock(second);
}

static void follows_no_link(void **state)
{
    (void)state;
    int fd;
    const char *target = scratch_text("precious", "content");
    assert_int_equal(beam_run_lock(scratch_path("linked"), &fd), BEAM_OK);
    beam_run_unlock(fd);
    assert_int_equal(unlink(scratch_path("linked/.lock")), 0);
    assert_int_equal(symlink(target, scratch_path("linked/.lock")), 0);
    assert_int_equal(beam_run_lock(scratch_path("linked"), &fd), BEAM_EIO);
}

/* The folder is removed while the run works in it, and another one has the lock of what takes its place. */
static void a_removed_folder_is_made_anew(void **state)
{
    (void)state;
    int lock, other;
    const char *folder = scratch_path("gone");
    assert_int_equal(beam_run_lock(folder, &lock), BEAM_OK);
    assert_int_equal(beam_run_lock_keep(folder, &lock), BEAM_OK);
    assert_int_equal(beam_remove_folder(folder), BEAM_OK);
    assert_int_equal(beam_run_lock_keep(folder, &lock), BEAM_OK);
    assert_int_equal(beam_run_lock(folder, &other), BEAM_EIO);
    assert_int_equal(beam_remove_folder(folder), BEAM_OK);
    assert_int_equal(beam_run_lock(folder, &other), BEAM_OK);
    assert_int_equal(beam_run_lock_keep(folder, &lock), BEAM_EIO);
    assert_true(message_has("already"));
    beam_run_unlock(other);
    beam_run_unlock(lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_process_is_refused),
        cmocka_unit_test(can_be_taken_again),
        cmocka_unit_test(follows_no_link),
        cmocka_unit_test(a_removed_folder_is_made_anew),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
