#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"
#include "data/file.h"
#include "fuzz/fuzz.h"

static char folder[512];
static pid_t owner; /* a forked child leaves the folder to its parent */

static void remove_folder(void)
{
    if (getpid() == owner)
        beam_remove_folder(folder);
}

const char *fuzz_folder(void)
{
    static const char memory[] = "/dev/shm";
    if (!folder[0]) {
        const char *given = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/beam-fuzz-XXXXXX",
                 given                       ? given
                 : access(memory, W_OK) == 0 ? memory
                                             : "/tmp");
        BEAM_ASSERT(mkdtemp(folder));
        owner = getpid();
        atexit(remove_folder);
    }
    return folder;
}

const char *fuzz_file(const char *name, const void *bytes, size_t size)
{
    static char path[1024];
    BEAM_ASSERT(beam_join_path(path, sizeof path, fuzz_folder(), name) == BEAM_OK);
    FILE *f = fopen(path, "wb");
    BEAM_ASSERT(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    return path;
}

void fuzz_seed_text(fuzz_taker take, void *context, const char *text)
{
    take(context, text, strlen(text));
}

void fuzz_seed_files(fuzz_taker take, void *context, const char *from, const char *end)
{
    struct dirent **entry;
    const int n = scandir(from, &entry, NULL, alphasort); /* the same order everywhere */
    BEAM_ASSERT(n >= 0);
    for (int i = 0; i < n; i++) {
        char path[1024], *bytes;
        size_t size;
        BEAM_ASSERT(beam_join_path(path, sizeof path, from, entry[i]->d_name) == BEAM_OK);
        if (beam_path_ends(path, end) && beam_file_read(path, 1 << 20, &bytes, &size) == BEAM_OK) {
            take(context, bytes, size);
            free(bytes);
        }
        free(entry[i]);
    }
    free(entry);
}
