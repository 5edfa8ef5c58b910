#include "data/scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "data/file.h"

static char folder[SCRATCH_PATH / 2];

/* Every path handed out. */
typedef struct known_path {
    struct known_path *next;
    char text[SCRATCH_PATH];
} known_path;
static known_path *known;

int scratch_open(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/beam-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

int scratch_close(void **state)
{
    (void)state;
    while (known) {
        known_path *next = known->next;
        free(known);
        known = next;
    }
    return beam_remove_folder(folder) == BEAM_OK ? 0 : -1;
}

const char *scratch_path(const char *name)
{
    char text[SCRATCH_PATH];
    snprintf(text, sizeof text, "%s/%s", folder, name);
    for (const known_path *k = known; k; k = k->next)
        if (strcmp(k->text, text) == 0)
            return k->text;
    known_path *added = malloc(sizeof *added);
    BEAM_ASSERT(added);
    memcpy(added->text, text, sizeof text);
    added->next = known;
    known = added;
    return added->text;
}

const char *scratch_write(const char *name, const void *bytes, size_t size)
{
    const char *path = scratch_path(name);
    FILE *f = fopen(path, "wb");
    BEAM_ASSERT(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0);
    return path;
}

const char *scratch_text(const char *name, const char *text)
{
    return scratch_write(name, text, strlen(text));
}

char *scratch_read(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    BEAM_ASSERT(f && fseek(f, 0, SEEK_END) == 0);
    const long n = ftell(f);
    char *bytes = malloc((size_t)n + 1);
    BEAM_ASSERT(bytes && fseek(f, 0, SEEK_SET) == 0 && fread(bytes, 1, (size_t)n, f) == (size_t)n);
    fclose(f);
    bytes[n] = '\0';
    *size = (size_t)n;
    return bytes;
}

int scratch_count(const char *path, const char *part)
{
    DIR *dir = opendir(path);
    BEAM_ASSERT(dir);
    int n = 0;
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && strstr(e->d_name, part);
    closedir(dir);
    return n;
}

bool message_has(const char *part)
{
    if (strstr(beam_last_error(), part))
        return true;
    printf("expected \"%s\" in: %s\n", part, beam_last_error());
    return false;
}
