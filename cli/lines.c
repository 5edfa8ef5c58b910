#include "cli/lines.h"

#include <stdlib.h>

static beam_status start(beam_lines *l)
{
    l->line = open_memstream(&l->text, &l->size);
    return l->line ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a line of output");
}

/* The text of the line is complete once its stream is closed. */
static beam_status finish(beam_lines *l)
{
    const int failed = fclose(l->line);
    l->line = NULL;
    return failed ? BEAM_FAIL(BEAM_ENOMEM, "no memory for a line of output") : BEAM_OK;
}

beam_status beam_lines_open(beam_lines *l, const char *path)
{
    *l = (beam_lines){0};
    if (path) {
        BEAM_TRY(beam_file_writer_open(&l->file, path));
        l->to_file = true;
    }
    return start(l);
}

static beam_status send(beam_lines *l)
{
    if (l->to_file)
        return beam_file_writer_put(&l->file, l->text, l->size);
    if (fwrite(l->text, 1, l->size, stdout) != l->size)
        return BEAM_FAIL(BEAM_EIO, "cannot write to standard output; is the disk full?");
    return BEAM_OK;
}

beam_status beam_lines_next(beam_lines *l)
{
    beam_status status = finish(l);
    if (!status)
        status = send(l);
    free(l->text);
    l->text = NULL;
    return status ? status : start(l);
}

beam_status beam_lines_close(beam_lines *l, beam_status status)
{
    if (l->line)
        fclose(l->line);
    free(l->text);
    if (!l->to_file)
        return status;
    if (!status)
        return beam_file_writer_commit(&l->file);
    beam_file_writer_abort(&l->file);
    return status;
}
