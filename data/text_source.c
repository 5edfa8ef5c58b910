#include "data/text_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

enum { BUFFER = 1 << 17, WINDOW_LOG = 27 };

struct beam_source {
    FILE *file;
    char path[1024];
    uint64_t bytes_read;
    ZSTD_DCtx *zstd; /* NULL: not compressed */
    ZSTD_inBuffer stored;
    bool inside_frame;
    size_t at, end; /* what is left of `plain` */
    char input[BUFFER], plain[BUFFER];
};

beam_status beam_source_open(const char *path, bool compressed, beam_source **out)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", path, strerror(errno));
    beam_source *s = calloc(1, sizeof *s);
    if (s) {
        s->file = file;
        s->zstd = compressed ? ZSTD_createDCtx() : NULL;
    }
    if (!s || (compressed && !s->zstd)) {
        free(s);
        fclose(file);
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory", path);
    }
    if (compressed)
        ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, WINDOW_LOG);
    s->stored.src = s->input;
    snprintf(s->path, sizeof s->path, "%s", path);
    *out = s;
    return BEAM_OK;
}

void beam_source_close(beam_source *s)
{
    if (!s)
        return;
    fclose(s->file);
    ZSTD_freeDCtx(s->zstd);
    free(s);
}

/* As much of the file as fits into `to`; *n = 0 at its end. */
static beam_status read_file(beam_source *s, char to[BUFFER], size_t *n)
{
    *n = fread(to, 1, BUFFER, s->file);
    s->bytes_read += *n;
    if (*n == 0 && ferror(s->file))
        return BEAM_FAIL(BEAM_EIO, "%s: cannot read: %s", s->path, strerror(errno));
    return BEAM_OK;
}

/* Decompresses until there is something, or the file ends. (zstd leaves a byte unread while it holds back the
 * end of a frame, so no output is left behind at the end of the file.) */
static beam_status decompress(beam_source *s)
{
    ZSTD_outBuffer plain = {.dst = s->plain, .size = BUFFER};
    while (plain.pos == 0) {
        if (s->stored.pos == s->stored.size) {
            s->stored.pos = 0;
            BEAM_TRY(read_file(s, s->input, &s->stored.size));
            if (s->stored.size == 0)
                break;
        }
        const size_t left = ZSTD_decompressStream(s->zstd, &plain, &s->stored);
        if (ZSTD_isError(left))
            return BEAM_FAIL(BEAM_EDATA, "%s: damaged near byte %llu: %s", s->path,
                             (unsigned long long)s->bytes_read, ZSTD_getErrorName(left));
        s->inside_frame = left != 0;
    }
    if (plain.pos == 0 && s->inside_frame)
        return BEAM_FAIL(BEAM_EDATA, "%s: ends in the middle of its compressed data; copy it again", s->path);
    s->end = plain.pos;
    return BEAM_OK;
}

beam_status beam_source_peek(beam_source *s, const char **bytes, size_t *n)
{
    if (s->at == s->end) {
        s->at = s->end = 0;
        if (s->zstd)
            BEAM_TRY(decompress(s));
        else
            BEAM_TRY(read_file(s, s->plain, &s->end));
    }
    *bytes = s->plain + s->at;
    *n = s->end - s->at;
    return BEAM_OK;
}

void beam_source_skip(beam_source *s, size_t n)
{
    BEAM_ASSERT(n <= s->end - s->at);
    s->at += n;
}

uint64_t beam_source_bytes_read(const beam_source *s)
{
    return s->bytes_read;
}
