/* How much memory there is, from made-up /proc and /sys: of the machine, and of control groups of both
 * versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/host_memory.h"

enum { PATH = 512, MOST = 16 };

typedef struct {
    char root[64];
    char made[MOST][PATH]; /* files and folders, in the order in which they were made */
    int n;
} machine;

static void made(machine *m, const char *path)
{
    assert_in_range(m->n, 0, MOST - 1);
    snprintf(m->made[m->n++], PATH, "%s", path);
}

/* Makes the folders of `name` as well. */
static void put(machine *m, const char *name, const char *text)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/%s", m->root, name);
    for (char *slash = strchr(path + strlen(m->root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) == 0)
            made(m, path);
        *slash = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    made(m, path);
}

static int open_machine(void **state)
{
    machine *m = calloc(1, sizeof *m);
    if (!m)
        return -1;
    snprintf(m->root, sizeof m->root, "/tmp/beam-memory-XXXXXX");
    *state = m;
    if (!mkdtemp(m->root))
        return -1;
    put(m, "proc/meminfo",
        "MemTotal:  16000 kB\nMemFree:  1000 kB\nMemAvailable:  9000 kB\nSwapTotal:  500 kB\n");
    return 0;
}

static int close_machine(void **state)
{
    machine *m = *state;
    while (m->n > 0)
        remove(m->made[--m->n]);
    const int left = rmdir(m->root);
    free(m);
    return left;
}

static beam_host_memory look(const machine *m)
{
    beam_host_memory found;
    beam_host_memory_look(m->root, &found);
    return found;
}

static void without_groups(void **state)
{
    const beam_host_memory found = look(*state);
    assert_int_equal(found.total, 16000 * 1024);
    assert_int_equal(found.available, 9000 * 1024);
    assert_int_equal(found.swap, 500 * 1024);
}

static void unlimited_groups(void **state)
{
    put(*state, "proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n0::/job\n");
    put(*state, "sys/fs/cgroup/job/memory.max", "max\n");
    put(*state, "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    put(*state, "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1000\n");
    const beam_host_memory found = look(*state);
    assert_int_equal(found.total, 16000 * 1024);
    assert_int_equal(found.available, 9000 * 1024);
    assert_int_equal(found.swap, 500 * 1024);
}

/* The limit of a group above counts; the cache of files is as good as free. */
static void version_2(void **state)
{
    put(*state, "proc/self/cgroup", "0::/slice/job\n");
    put(*state, "sys/fs/cgroup/slice/memory.max", "1000000\n");
    put(*state, "sys/fs/cgroup/slice/memory.current", "700000\n");
    put(*state, "sys/fs/cgroup/slice/memory.stat",
        "anon 1\nfile 2\ninactive_anon 5\nactive_file 30000\ninactive_file 400000\n");
    put(*state, "sys/fs/cgroup/slice/job/memory.max", "max\n");
    const beam_host_memory found = look(*state);
    assert_int_equal(found.total, 1000000);
    assert_int_equal(found.available, 1000000 - 700000 + 430000);
    assert_int_equal(found.swap, 0);
}

/* The same limit, seen from inside a container that does not see its own name. */
static void version_1(void **state)
{
    put(*state, "proc/self/cgroup", "5:cpu,cpuacct:/docker/12ab\n4:hugetlb,memory:/docker/12ab\n0::/\n");
    put(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000\n");
    put(*state, "sys/fs/cgroup/memory/memory.usage_in_bytes", "2100000\n");
    put(*state, "sys/fs/cgroup/memory/memory.stat",
        "inactive_file 7\ntotal_inactive_file 50000\ntotal_active_file 60000\n");
    const beam_host_memory found = look(*state);
    assert_int_equal(found.total, 2000000);
    assert_int_equal(found.available, 10000);
    put(*state, "sys/fs/cgroup/memory/memory.usage_in_bytes", "2200000\n");
    assert_int_equal(look(*state).available, 0);
}

static void unknown(void **state)
{
    (void)state;
    beam_host_memory found = {1, 1, 1};
    beam_host_memory_look("/nowhere", &found);
    assert_true(found.total == 0 && found.available == 0 && found.swap == 0);
}

static void this_machine(void **state)
{
    (void)state;
    beam_host_memory found;
    beam_host_memory_look("", &found);
    assert_true(found.total > 0 && found.available > 0 && found.available <= found.total);
    assert_true(beam_host_memory_peak() > 100000 && beam_host_memory_peak() < found.total);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_groups, open_machine, close_machine),
        cmocka_unit_test_setup_teardown(unlimited_groups, open_machine, close_machine),
        cmocka_unit_test_setup_teardown(version_2, open_machine, close_machine),
        cmocka_unit_test_setup_teardown(version_1, open_machine, close_machine),
        cmocka_unit_test(unknown),
        cmocka_unit_test(this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
