#include "data/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "data/file.h"
#include "data/manifest.h"

static const char *suffix_of(char kind)
{
    return kind == 't' ? ".tmp-" : kind == 'o' ? ".old-" : "";
}

/* Only the exact spelling that beam_checkpoint_path gives. */
static bool parse_name(const char *name, beam_checkpoint_entry *e)
{
    static const char kinds[] = {0, 't', 'o'}, prefix[] = "checkpoint-";
    *e = (beam_checkpoint_entry){0};
    if (strncmp(name, prefix, sizeof prefix - 1) != 0 || strlen(name) >= sizeof e->name)
        return false;
    const long long step = strtoll(name + sizeof prefix - 1, NULL, 10);
    const char *pid = strrchr(name, '-') + 1;
    if (step < 0)
        return false;
    e->step = step;
    for (size_t k = 0; k < sizeof kinds; k++) {
        e->kind = kinds[k];
        e->pid = e->kind ? strtol(pid, NULL, 10) : 0;
        int n = snprintf(e->name, sizeof e->name, "checkpoint-%06lld%s", step, suffix_of(e->kind));
        if (e->kind)
            snprintf(e->name + n, sizeof e->name - (size_t)n, "%ld", e->pid);
        if (strcmp(e->name, name) == 0)
            return true;
    }
    return false;
}

static int newest_first(const void *a, const void *b)
{
    const beam_checkpoint_entry *x = a, *y = b;
    if (x->step != y->step)
        return x->step > y->step ? -1 : 1;
    if ((x->kind == 0) != (y->kind == 0))
        return x->kind == 0 ? -1 : 1;
    return strcmp(x->name, y->name);
}

static beam_status read_entries(DIR *dir, const char *out_dir, beam_checkpoint_entry **list, int *n)
{
    for (;;) {
        beam_checkpoint_entry e;
        struct stat info;
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d && errno != 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot list this folder: %s", out_dir, strerror(errno));
        if (!d)
            return BEAM_OK;
        if (!parse_name(d->d_name, &e) || fstatat(dirfd(dir), d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(info.st_mode))
            continue;
        beam_checkpoint_entry *grown = realloc(*list, (size_t)(*n + 1) * sizeof *grown);
        if (!grown)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to list its checkpoints", out_dir);
        *list = grown;
        grown[(*n)++] = e;
    }
}

beam_status beam_checkpoint_list(const char *out_dir, beam_checkpoint_entry **out, int *n)
{
    *out = NULL;
    *n = 0;
    DIR *dir = opendir(out_dir);
    if (!dir && errno == ENOENT)
        return BEAM_OK;
    if (!dir)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot list this folder: %s", out_dir, strerror(errno));
    const beam_status s = read_entries(dir, out_dir, out, n);
    closedir(dir);
    if (s != BEAM_OK) {
        free(*out);
        *out = NULL;
        *n = 0;
    } else if (*n > 0) {
        qsort(*out, (size_t)*n, sizeof **out, newest_first);
    }
    return s;
}

beam_status beam_checkpoint_path(char path[BEAM_CHECKPOINT_PATH], const char *out_dir, int64_t step,
                                 char kind)
{
    char name[64];
    const int n = snprintf(name, sizeof name, "checkpoint-%06lld%s", (long long)step, suffix_of(kind));
    if (kind)
        snprintf(name + n, sizeof name - (size_t)n, "%ld", (long)getpid());
    BEAM_TRY(beam_join_path(path, BEAM_CHECKPOINT_PATH, out_dir, name));
    return BEAM_OK;
}

/* Our own id on a leftover means an earlier process of a container, where ids start again. */
static bool owner_gone(long pid)
{
    return pid <= 0 || pid == (long)getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

static beam_status clean_entry(const char *out_dir, const beam_checkpoint_entry *e)
{
    char path[BEAM_CHECKPOINT_PATH], place[BEAM_CHECKPOINT_PATH];
    if (e->kind == 0 || !owner_gone(e->pid))
        return BEAM_OK;
    BEAM_TRY(beam_join_path(path, sizeof path, out_dir, e->name));
    BEAM_TRY(beam_checkpoint_path(place, out_dir, e->step, 0));
    if (e->kind == 'o' && !beam_folder_exists(place)) {
        if (rename(path, place) != 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot put it back in its place: %s", path, strerror(errno));
        BEAM_TRY(beam_sync_folder(out_dir));
        return BEAM_OK;
    }
    beam_debug("%s: removing what an unfinished save left", path);
    BEAM_TRY(beam_remove_folder(path));
    return BEAM_OK;
}

beam_status beam_checkpoint_clean(const char *out_dir)
{
    beam_checkpoint_entry *list;
    int n;
    BEAM_TRY(beam_checkpoint_list(out_dir, &list, &n));
    beam_status s = BEAM_OK;
    for (int i = 0; i < n && s == BEAM_OK; i++)
        s = clean_entry(out_dir, &list[i]);
    free(list);
    return s;
}

beam_status beam_checkpoint_newest(const char *out_dir, char *path, size_t size, bool *found)
{
    beam_checkpoint_entry *list;
    int n;
    beam_checkpoint_state state;
    *found = false;
    BEAM_TRY(beam_checkpoint_list(out_dir, &list, &n));
    beam_status s = BEAM_OK;
    for (int i = 0; i < n && s == BEAM_OK && !*found; i++) {
        if (list[i].kind == 't')
            continue;
        s = beam_join_path(path, size, out_dir, list[i].name);
        if (s != BEAM_OK)
            break;
        s = beam_checkpoint_read_state(path, &state);
        *found = s == BEAM_OK;
        if (s == BEAM_EMODEL || s == BEAM_EIO) {
            beam_warn("%s; passing this checkpoint over", beam_last_error());
            s = BEAM_OK;
        }
    }
    free(list);
    return s;
}

/* A cheap look, without hashing: the manifest is intact and the files have their sizes. */
static bool looks_complete(const char *path, double *eval_loss)
{
    beam_manifest m;
    char file[BEAM_CHECKPOINT_PATH];
    struct stat info;
    if (beam_manifest_read(path, &m) != BEAM_OK)
        return false;
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++)
        if (beam_join_path(file, sizeof file, path, beam_manifest_file_name(i)) != BEAM_OK ||
            stat(file, &info) != 0 || (uint64_t)info.st_size != m.file[i].size)
            return false;
    *eval_loss = m.state.eval_loss;
    return true;
}

/* The step with the least evaluation loss; of equal ones the earliest. -1: none was evaluated. */
static beam_status find_best(const char *out_dir, const beam_checkpoint_entry *list, int n, int64_t *best)
{
    char path[BEAM_CHECKPOINT_PATH];
    double least = INFINITY, loss;
    *best = -1;
    for (int i = 0; i < n; i++) {
        if (list[i].kind != 0)
            continue;
        BEAM_TRY(beam_checkpoint_path(path, out_dir, list[i].step, 0));
        if (looks_complete(path, &loss) && loss >= 0 && loss <= least) {
            least = loss;
            *best = list[i].step;
        }
    }
    return BEAM_OK;
}

/* First out of its place, then removed: a kill in between leaves no half of a checkpoint that looks whole. */
static beam_status remove_checkpoint(const char *out_dir, int64_t step)
{
    char path[BEAM_CHECKPOINT_PATH], aside[BEAM_CHECKPOINT_PATH];
    BEAM_TRY(beam_checkpoint_path(path, out_dir, step, 0));
    BEAM_TRY(beam_checkpoint_path(aside, out_dir, step, 't'));
    BEAM_TRY(beam_remove_folder(aside));
    if (rename(path, aside) != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot remove this old checkpoint: %s", path, strerror(errno));
    BEAM_TRY(beam_remove_folder(aside));
    return BEAM_OK;
}

beam_status beam_checkpoint_prune(const char *out_dir, int limit, int64_t keep)
{
    beam_checkpoint_entry *list;
    int n, kept = 0;
    int64_t best;
    double loss;
    char path[BEAM_CHECKPOINT_PATH];
    BEAM_ASSERT(limit >= 2);
    BEAM_TRY(beam_checkpoint_list(out_dir, &list, &n));
    beam_status s = find_best(out_dir, list, n, &best);
    for (int i = 0; i < n && s == BEAM_OK; i++) {
        if (list[i].kind != 0)
            continue;
        s = beam_checkpoint_path(path, out_dir, list[i].step, 0);
        if (s != BEAM_OK)
            break;
        if (kept < limit)
            kept += looks_complete(path, &loss);
        else if (list[i].step != keep && list[i].step != best)
            s = remove_checkpoint(out_dir, list[i].step);
    }
    free(list);
    return s;
}
