/* Files: complete or absent, bounded, and never outside their folder. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/file.h"
#include "data/scratch.h"

static void assert_content(const char *path, const char *text)
{
    size_t size;
    char *bytes = scratch_read(path, &size);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(bytes, text, size);
    free(bytes);
}

static void reads_within_the_limit(void **state)
{
    (void)state;
    char *bytes;
    size_t size;
    const char *path = scratch_text("a.txt", "hello");
    assert_int_equal(beam_file_read(path, 5, &bytes, &size), BEAM_OK);
    assert_int_equal(size, 5);
    assert_string_equal(bytes, "hello");
    free(bytes);
    assert_int_equal(beam_file_read(path, 4, &bytes, &size), BEAM_EIO);
    assert_null(bytes);
    assert_true(message_has("5 bytes") && message_has("a.txt"));
    assert_int_equal(beam_file_read(scratch_text("empty", ""), 0, &bytes, &size), BEAM_OK);
    assert_int_equal(size, 0);
    assert_string_equal(bytes, "");
    free(bytes);
}

static void reads_regular_files_only(void **state)
{
    (void)state;
    char *bytes, hex[BEAM_SHA256_HEX];
    size_t size;
    assert_int_equal(beam_file_read(scratch_path("absent"), 9, &bytes, &size), BEAM_EIO);
    assert_int_equal(beam_file_read(scratch_path(""), 9, &bytes, &size), BEAM_EIO);
    assert_int_equal(mkfifo(scratch_path("pipe"), 0600), 0);
    assert_int_equal(beam_file_read(scratch_path("pipe"), 9, &bytes, &size), BEAM_EIO);
    assert_true(message_has("not a regular file"));
    assert_int_equal(beam_file_read("/dev/zero", 9, &bytes, &size), BEAM_EIO);
    assert_int_equal(beam_sha256_file(scratch_path("absent"), hex), BEAM_EIO);
    assert_int_equal(beam_file_copy(scratch_path("pipe"), scratch_path("b")), BEAM_EIO);
    assert_false(beam_file_exists(scratch_path("b")));
}

static void writes_over_and_leaves_no_trace(void **state)
{
    (void)state;
    beam_file_writer w;
    const char *folder = scratch_path("write"), *path = scratch_path("write/a");
    assert_int_equal(beam_make_folder(folder), BEAM_OK);
    assert_int_equal(beam_file_write(path, "one", 3), BEAM_OK);
    assert_int_equal(beam_file_write(path, "three", 5), BEAM_OK);
    assert_content(path, "three");

    assert_int_equal(beam_file_writer_open(&w, path), BEAM_OK);
    assert_int_equal(beam_file_writer_put(&w, "xy", 2), BEAM_OK);
    assert_content(path, "three"); /* nothing shows before the commit */
    beam_file_writer_abort(&w);
    beam_file_writer_abort(&w);
    assert_content(path, "three");
    assert_int_equal(scratch_count(folder, ""), 1);

    assert_int_equal(beam_file_writer_open(&w, path), BEAM_OK);
    assert_int_equal(beam_file_writer_put(&w, "xy", 2), BEAM_OK);
    assert_int_equal(beam_file_writer_put(&w, "z", 1), BEAM_OK);
    assert_int_equal(w.size, 3);
    assert_int_equal(beam_file_writer_commit(&w), BEAM_OK);
    assert_content(path, "xyz");
    assert_int_equal(scratch_count(folder, ""), 1);
}

static void survives_leftovers_of_its_own_name(void **state)
{
    (void)state;
    beam_file_writer first, second;
    const char *path = scratch_path("same");
    assert_int_equal(beam_file_writer_open(&first, path), BEAM_OK);
    assert_int_equal(beam_file_writer_open(&second, path), BEAM_OK);
    assert_string_not_equal(first.temporary, second.temporary);
    beam_file_writer_abort(&first);
    beam_file_writer_abort(&second);
}

static void fails_cleanly(void **state)
{
    (void)state;
    char path[2000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    assert_int_equal(beam_file_write(path, "a", 1), BEAM_EIO);
    assert_int_equal(beam_file_write(scratch_path("no/such/folder/a"), "a", 1), BEAM_EIO);
    assert_int_equal(beam_make_folder(scratch_path("taken")), BEAM_OK);
    assert_int_equal(beam_file_write(scratch_path("taken"), "a", 1), BEAM_EIO);
    assert_true(message_has("taken"));
    assert_int_equal(scratch_count(scratch_path(""), "taken"), 1); /* no temporary beside it */
    assert_int_equal(beam_need_space(scratch_path(""), 1), BEAM_OK);
    assert_int_equal(beam_need_space(scratch_path(""), UINT64_MAX), BEAM_EIO);
    assert_true(message_has("18446744073709.6 MB"));
    assert_int_equal(beam_join_path(path, 8, "12345", "78"), BEAM_EIO);
    assert_int_equal(beam_join_path(path, 9, "12345", "78"), BEAM_OK);
    assert_string_equal(path, "12345/78");
    assert_int_equal(beam_join_path(path, 9, "1234/", "78"), BEAM_OK);
    assert_string_equal(path, "1234/78");
}

/* A child whose files may have `limit` bytes overwrites `path` with `size` bytes: its exit status. */
static int write_with_limit(const char *path, rlim_t limit, size_t size)
{
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit r = {.rlim_cur = limit, .rlim_max = limit};
        signal(SIGXFSZ, SIG_IGN);
        char *bytes = calloc(size, 1);
        if (!bytes || setrlimit(RLIMIT_FSIZE, &r) != 0)
            _exit(99);
        const beam_status s = beam_file_write(path, bytes, size);
        free(bytes);
        _exit((int)s);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void a_full_disk_keeps_the_old_file(void **state)
{
    (void)state;
    const char *folder = scratch_path("full"), *path = scratch_path("full/a");
    assert_int_equal(beam_make_folder(folder), BEAM_OK);
    assert_int_equal(beam_file_write(path, "old", 3), BEAM_OK);
    for (rlim_t limit = 0; limit < 100000; limit = limit * 3 + 1) {
        assert_int_equal(write_with_limit(path, limit, 100001), BEAM_EIO);
        assert_content(path, "old");
        assert_int_equal(scratch_count(folder, ""), 1);
    }
    assert_int_equal(write_with_limit(path, 100001, 100001), BEAM_OK);
    assert_int_equal(scratch_count(folder, ""), 1);
}

static void copies(void **state)
{
    (void)state;
    enum { SIZE = 3 * (1 << 20) + 17 };
    static char bytes[SIZE];
    size_t size;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    const char *from = scratch_write("from", bytes, SIZE), *to = scratch_path("to");
    assert_int_equal(beam_file_copy(from, to), BEAM_OK);
    char *copy = scratch_read(to, &size);
    assert_int_equal(size, SIZE);
    assert_memory_equal(copy, bytes, SIZE);
    free(copy);
    assert_int_equal(beam_file_copy(from, from), BEAM_OK);
    assert_int_equal(beam_file_copy(scratch_path("absent"), to), BEAM_EIO);
    assert_true(beam_file_exists(to));
}

static void makes_folders(void **state)
{
    (void)state;
    assert_int_equal(beam_make_folder(scratch_path("p/q//r/")), BEAM_OK);
    assert_true(beam_folder_exists(scratch_path("p/q/r")));
    assert_false(beam_file_exists(scratch_path("p/q/r")));
    assert_int_equal(beam_make_folder(scratch_path("p/q/r")), BEAM_OK);
    scratch_text("p/file", "x");
    assert_int_equal(beam_make_folder(scratch_path("p/file")), BEAM_EIO);
    assert_int_equal(beam_make_folder(scratch_path("p/file/below")), BEAM_EIO);
    assert_int_equal(beam_make_folder(""), BEAM_EIO);
}

static void removes_without_following_links(void **state)
{
    (void)state;
    const char *kept = scratch_path("kept"), *gone = scratch_path("gone");
    assert_int_equal(beam_make_folder(kept), BEAM_OK);
    scratch_text("kept/file", "still here");
    assert_int_equal(beam_make_folder(scratch_path("gone/inner/deep")), BEAM_OK);
    scratch_text("gone/inner/file", "x");
    assert_int_equal(symlink(kept, scratch_path("gone/folder-link")), 0);
    assert_int_equal(symlink(scratch_path("kept/file"), scratch_path("gone/inner/file-link")), 0);
    assert_int_equal(symlink("dangling", scratch_path("gone/dangling")), 0);
    assert_int_equal(beam_remove_folder(gone), BEAM_OK);
    assert_false(beam_folder_exists(gone));
    assert_content(scratch_path("kept/file"), "still here");

    assert_int_equal(symlink(kept, scratch_path("link")), 0);
    assert_int_equal(beam_remove_folder(scratch_path("link")), BEAM_EIO);
    assert_int_equal(beam_remove_folder(scratch_path("kept/file")), BEAM_EIO);
    assert_content(scratch_path("kept/file"), "still here");
    assert_int_equal(beam_remove_folder(scratch_path("absent")), BEAM_OK);
}

static void hashes(void **state)
{
    (void)state;
    char hex[BEAM_SHA256_HEX];
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    beam_sha256("abc", 3, hex);
    assert_string_equal(hex, abc);
    assert_int_equal(beam_sha256_file(scratch_text("abc", "abc"), hex), BEAM_OK);
    assert_string_equal(hex, abc);
    assert_true(beam_sha256_short(abc) == 0xba7816bf8f01cfeaull);
    assert_int_equal(beam_sha256_file(scratch_text("empty", ""), hex), BEAM_OK);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_within_the_limit),
        cmocka_unit_test(reads_regular_files_only),
        cmocka_unit_test(writes_over_and_leaves_no_trace),
        cmocka_unit_test(survives_leftovers_of_its_own_name),
        cmocka_unit_test(fails_cleanly),
        cmocka_unit_test(a_full_disk_keeps_the_old_file),
        cmocka_unit_test(copies),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(removes_without_following_links),
        cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
