#include "data/sums.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"

enum { LIMIT = 1 << 20, HEX = BEAM_SHA256_HEX - 1, NAME_MAX_BYTES = 255, PATH_SIZE = 1200 };

static const char list_name[] = "SHA256SUMS";

/* Plain names only: a list from outside must not have other files hashed, or be written so that it would. */
static bool is_plain(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strpbrk(name, "/\\\n\r") && strlen(name) <= NAME_MAX_BYTES;
}

static int listed(const struct dirent *e)
{
    return is_plain(e->d_name) && strcmp(e->d_name, list_name) != 0;
}

static beam_status print_sum(FILE *to, const char *folder, const char *name)
{
    char path[PATH_SIZE], hex[BEAM_SHA256_HEX];
    BEAM_TRY(beam_join_path(path, sizeof path, folder, name));
    if (!beam_file_exists(path))
        return BEAM_OK;
    BEAM_TRY(beam_sha256_file(path, hex));
    fprintf(to, "%s  %s\n", hex, name);
    return BEAM_OK;
}

beam_status beam_sums_write(const char *folder)
{
    char path[PATH_SIZE], *text = NULL;
    size_t size = 0;
    struct dirent **entry;
    BEAM_TRY(beam_join_path(path, sizeof path, folder, list_name));
    const int n = scandir(folder, &entry, listed, alphasort);
    FILE *to = n >= 0 ? open_memstream(&text, &size) : NULL;
    beam_status s = to ? BEAM_OK : BEAM_FAIL(BEAM_EIO, "%s: cannot list its files", folder);
    for (int i = 0; i < n; i++) {
        if (s == BEAM_OK)
            s = print_sum(to, folder, entry[i]->d_name);
        free(entry[i]);
    }
    if (n >= 0)
        free(entry);
    if (to && fclose(to) != 0 && s == BEAM_OK)
        s = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for it", path);
    if (s == BEAM_OK)
        s = beam_file_write(path, text, size);
    free(text);
    return s;
}

/* One line, without its newline. */
static beam_status verify_line(const char *list, const char *folder, char *line)
{
    char path[PATH_SIZE], hex[BEAM_SHA256_HEX];
    if (strspn(line, "0123456789abcdef") != HEX || strncmp(line + HEX, "  ", 2) != 0 ||
        !is_plain(line + HEX + 2))
        return BEAM_FAIL(BEAM_EMODEL, "%s: damaged: a line is not a SHA-256, two spaces and a plain name",
                         list);
    const char *name = line + HEX + 2;
    line[HEX] = '\0';
    BEAM_TRY(beam_join_path(path, sizeof path, folder, name));
    if (!beam_file_exists(path))
        return BEAM_FAIL(BEAM_EMODEL, "%s: %s names this file, but it is missing", path, list_name);
    BEAM_TRY(beam_sha256_file(path, hex));
    if (strcmp(hex, line) != 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: damaged: its SHA-256 is not the one in %s", path, list_name);
    return BEAM_OK;
}

beam_status beam_sums_verify(const char *folder, bool *found)
{
    char path[PATH_SIZE], *text;
    size_t size;
    BEAM_TRY(beam_join_path(path, sizeof path, folder, list_name));
    *found = beam_file_exists(path);
    if (!*found)
        return BEAM_OK;
    BEAM_TRY(beam_file_read(path, LIMIT, &text, &size));
    beam_status s = size > 0 && text[size - 1] == '\n' && strlen(text) == size
                        ? BEAM_OK
                        : BEAM_FAIL(BEAM_EMODEL, "%s: damaged: it does not end with a whole line", path);
    for (char *line = text, *end; s == BEAM_OK && *line; line = end + 1) {
        end = strchr(line, '\n');
        *end = '\0';
        s = verify_line(path, folder, line);
    }
    free(text);
    return s;
}
