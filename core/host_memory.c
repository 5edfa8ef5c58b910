#include "core/host_memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { PATH_SIZE = 4096 };

/* The files of a control group's memory controller, in the two versions that Linux has. */
typedef struct {
    const char *folder, *limit, *usage;
    const char *cache[2]; /* keys of memory.stat */
} controller;

static const controller version_1 = {"/sys/fs/cgroup/memory",
                                     "memory.limit_in_bytes",
                                     "memory.usage_in_bytes",
                                     {"total_inactive_file ", "total_active_file "}};
static const controller version_2 = {
    "/sys/fs/cgroup", "memory.max", "memory.current", {"inactive_file ", "active_file "}};

/* The number after `key` at the start of a line; -1 if there is none. */
static int64_t number_in(const char *folder, const char *name, const char *key)
{
    char path[PATH_SIZE], line[256];
    int64_t n = -1;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_SIZE)
        return -1;
    FILE *f = fopen(path, "r");
    while (f && n < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%" SCNd64, &n) != 1)
            n = -1;
    if (f)
        fclose(f);
    return n;
}

static int64_t less(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void apply_group(const char *folder, const controller *c, beam_host_memory *m)
{
    const int64_t limit = number_in(folder, c->limit, "");
    if (limit < 0) /* no such file, or "max" */
        return;
    int64_t used = number_in(folder, c->usage, "");
    for (int i = 0; i < 2; i++) {
        const int64_t cache = number_in(folder, "memory.stat", c->cache[i]);
        used -= cache > 0 ? cache : 0;
    }
    m->available = less(m->available, limit - (used > 0 ? used : 0));
    if (limit < m->total) {
        m->total = limit;
        m->swap = 0;
    }
}

/* The group at `path` and all above it. In a container `path` may be the host's name for what the container
 * sees as the top; then only that is found. */
static void apply_groups(const char *root, const controller *c, char *path, beam_host_memory *m)
{
    char folder[PATH_SIZE];
    for (;;) {
        if (snprintf(folder, sizeof folder, "%s%s%s", root, c->folder, path) < PATH_SIZE)
            apply_group(folder, c, m);
        char *slash = strrchr(path, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static bool lists_memory(const char *controllers, size_t n)
{
    static const char name[] = "memory";
    for (size_t at = 0; at < n; at += strcspn(controllers + at, ",:") + 1)
        if (strcspn(controllers + at, ",:") == strlen(name) &&
            strncmp(controllers + at, name, strlen(name)) == 0)
            return true;
    return false;
}

/* Lines "number:controllers:path"; no controllers are named for version 2. */
static void apply_limits(const char *root, beam_host_memory *m)
{
    char line[PATH_SIZE];
    if (snprintf(line, sizeof line, "%s/proc/self/cgroup", root) >= PATH_SIZE)
        return;
    FILE *f = fopen(line, "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        const char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        const size_t n = (size_t)(path - controllers) - 1;
        if (n == 0)
            apply_groups(root, &version_2, path + 1, m);
        else if (lists_memory(controllers + 1, n))
            apply_groups(root, &version_1, path + 1, m);
    }
    if (f)
        fclose(f);
}

void beam_host_memory_look(const char *root, beam_host_memory *out)
{
    char proc[PATH_SIZE];
    *out = (beam_host_memory){0};
    if (snprintf(proc, sizeof proc, "%s/proc", root) >= PATH_SIZE)
        return;
    const int64_t total = number_in(proc, "meminfo", "MemTotal:");
    const int64_t available = number_in(proc, "meminfo", "MemAvailable:");
    const int64_t swap = number_in(proc, "meminfo", "SwapTotal:");
    if (total <= 0 || available < 0)
        return;
    *out = (beam_host_memory){total * 1024, available * 1024, swap > 0 ? swap * 1024 : 0};
    apply_limits(root, out);
    if (out->available < 0)
        out->available = 0;
}

int64_t beam_host_memory_peak(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
