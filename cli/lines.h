/* Lines of output: on stdout as they come, or into a file that is complete or absent. */
#ifndef BEAM_CLI_LINES_H
#define BEAM_CLI_LINES_H

#include "data/file.h"

typedef struct {
    FILE *line; /* where the caller prints the next line */
    char *text; /* of it */
    size_t size;
    bool to_file;
    beam_file_writer file;
} beam_lines;

/* path NULL: stdout. On failure close is still needed. */
beam_status beam_lines_open(beam_lines *l, const char *path);

/* Sends off what was printed to l->line and starts the next line. */
beam_status beam_lines_next(beam_lines *l);

/* If `status` is BEAM_OK the file gets its name, otherwise it is removed. Returns the first failure. */
beam_status beam_lines_close(beam_lines *l, beam_status status);

#endif
