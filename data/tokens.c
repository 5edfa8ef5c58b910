#include "data/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/host_memory.h"
#include "data/file.h"
#include "data/hdf5_image.h"
#include "data/text.h"

enum { FORMAT = 1 };
#define LARGEST_FILE ((size_t)1 << 38) /* 256 GiB */

/* Checks everything a reader of the arrays relies on. */
static beam_status check(const char *path, const beam_tokens *t)
{
    if (t->vocab < 1 || t->vocab > INT32_MAX)
        return BEAM_FAIL(BEAM_EDATA, "%s: vocabulary of %lld tokens; must be 1 to 2^31 - 1", path,
                         (long long)t->vocab);
    for (int64_t i = 0; i < t->tokens; i++)
        if (t->id[i] < 0 || t->id[i] >= t->vocab)
            return BEAM_FAIL(BEAM_EDATA, "%s: token %lld has id %d, outside the vocabulary of %lld", path,
                             (long long)i, t->id[i], (long long)t->vocab);
    for (int64_t i = 0; i < t->tokens; i++)
        if (t->loss[i] > 1)
            return BEAM_FAIL(BEAM_EDATA, "%s: the loss mask of token %lld is %d; must be 0 or 1", path,
                             (long long)i, t->loss[i]);
    if (t->start[0] != 0 || t->start[t->documents] != t->tokens)
        return BEAM_FAIL(BEAM_EDATA, "%s: the documents do not cover the tokens", path);
    for (int64_t i = 0; i < t->documents; i++)
        if (t->start[i] >= t->start[i + 1])
            return BEAM_FAIL(BEAM_EDATA, "%s: document %lld is empty or starts after its end", path,
                             (long long)i);
    return BEAM_OK;
}

/* SHA-256 over the hashes of the arrays and what gives them their meaning. */
static void hash_content(const beam_tokens *t, char hex[BEAM_SHA256_HEX])
{
    char id[BEAM_SHA256_HEX], loss[BEAM_SHA256_HEX], start[BEAM_SHA256_HEX], all[4 * BEAM_SHA256_HEX + 64];
    beam_sha256(t->id, (size_t)t->tokens * sizeof *t->id, id);
    beam_sha256(t->loss, (size_t)t->tokens, loss);
    beam_sha256(t->start, (size_t)t->documents * sizeof *t->start, start);
    const int n =
        snprintf(all, sizeof all, "%s %s %s %lld %s", id, loss, start, (long long)t->vocab, t->tokenizer);
    beam_sha256(all, (size_t)n, hex);
}

static beam_status fill_image(beam_h5 *f, const beam_tokens *t)
{
    char content[BEAM_SHA256_HEX];
    hash_content(t, content);
    BEAM_TRY(beam_h5_put_i64(f, "format", FORMAT));
    BEAM_TRY(beam_h5_put_i64(f, "vocab_size", t->vocab));
    BEAM_TRY(beam_h5_put_text(f, "tokenizer", t->tokenizer));
    BEAM_TRY(beam_h5_put_text(f, "content", content));
    BEAM_TRY(beam_h5_put(f, "ids", beam_view(t->id, BEAM_I32, BEAM_DIMS(t->tokens))));
    BEAM_TRY(beam_h5_put(f, "loss", beam_view(t->loss, BEAM_U8, BEAM_DIMS(t->tokens))));
    BEAM_TRY(beam_h5_put(f, "start", beam_view(t->start, BEAM_I64, BEAM_DIMS(t->documents))));
    return BEAM_OK;
}

beam_status beam_tokens_write(const char *path, const beam_tokens *t)
{
    BEAM_TRY(check(path, t));
    beam_h5 *f;
    BEAM_TRY(beam_h5_create(&f));
    const beam_status filled = fill_image(f, t);
    if (filled != BEAM_OK) {
        beam_h5_close(f);
        return filled;
    }
    void *image;
    size_t size;
    BEAM_TRY(beam_h5_finish(f, &image, &size));
    const beam_status s = beam_file_write(path, image, size);
    free(image);
    return s;
}

/* The length of a one-dimensional array. */
static beam_status length_of(beam_h5 *f, const char *path, const char *name, beam_dtype dtype, int64_t *n)
{
    beam_tensor t;
    BEAM_TRY(beam_h5_shape(f, name, &t));
    if (t.ndim != 1 || t.dtype != dtype)
        return BEAM_FAIL(BEAM_EDATA, "%s: array %s is not a list of %s: not a token file", path, name,
                         beam_dtype_name(dtype));
    *n = t.dim[0];
    return BEAM_OK;
}

/* A few kilobytes can decompress to any number of equal tokens. */
static beam_status check_memory(const char *path, const beam_tokens *t)
{
    const int64_t each = sizeof *t->id + sizeof *t->loss; /* the documents are few beside it */
    beam_host_memory memory;
    if (t->documents > t->tokens)
        return BEAM_FAIL(BEAM_EDATA, "%s: %lld documents but only %lld tokens", path, (long long)t->documents,
                         (long long)t->tokens);
    beam_host_memory_look("", &memory);
    if (memory.total > 0 && t->tokens > memory.available / each)
        return BEAM_FAIL(BEAM_ENOMEM,
                         "%s: its %lld tokens need more than the %.1f GB of memory that are free", path,
                         (long long)t->tokens, 1e-9 * (double)memory.available);
    return BEAM_OK;
}

static beam_status read_arrays(beam_h5 *f, const char *path, beam_tokens *t)
{
    int64_t losses;
    BEAM_TRY(length_of(f, path, "ids", BEAM_I32, &t->tokens));
    BEAM_TRY(length_of(f, path, "loss", BEAM_U8, &losses));
    BEAM_TRY(length_of(f, path, "start", BEAM_I64, &t->documents));
    if (losses != t->tokens)
        return BEAM_FAIL(BEAM_EDATA, "%s: %lld tokens but a loss mask of %lld", path, (long long)t->tokens,
                         (long long)losses);
    BEAM_TRY(check_memory(path, t));
    t->id = malloc((size_t)t->tokens * sizeof *t->id + 1);
    t->loss = malloc((size_t)t->tokens + 1);
    t->start = malloc(((size_t)t->documents + 1) * sizeof *t->start);
    if (!t->id || !t->loss || !t->start)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for %lld tokens", path, (long long)t->tokens);
    BEAM_TRY(beam_h5_get(f, "ids", beam_view(t->id, BEAM_I32, BEAM_DIMS(t->tokens))));
    BEAM_TRY(beam_h5_get(f, "loss", beam_view(t->loss, BEAM_U8, BEAM_DIMS(t->tokens))));
    BEAM_TRY(beam_h5_get(f, "start", beam_view(t->start, BEAM_I64, BEAM_DIMS(t->documents))));
    t->start[t->documents] = t->tokens;
    return BEAM_OK;
}

static beam_status read_image(beam_h5 *f, const char *path, beam_tokens *t)
{
    int64_t format;
    char stored[BEAM_SHA256_HEX], actual[BEAM_SHA256_HEX];
    BEAM_TRY(beam_h5_get_i64(f, "format", &format));
    if (format != FORMAT)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: token file of format %lld; this beam reads %d: make it again with "
                         "`beam preprocess`",
                         path, (long long)format, FORMAT);
    BEAM_TRY(beam_h5_get_i64(f, "vocab_size", &t->vocab));
    BEAM_TRY(beam_h5_get_text(f, "tokenizer", t->tokenizer, sizeof t->tokenizer));
    BEAM_TRY(beam_h5_get_text(f, "content", stored, sizeof stored));
    BEAM_TRY(read_arrays(f, path, t));
    BEAM_TRY(check(path, t));
    hash_content(t, actual);
    if (strcmp(stored, actual) != 0)
        return BEAM_FAIL(BEAM_EDATA, "%s: damaged: its content does not match its SHA-256", path);
    t->hash = beam_sha256_short(actual);
    return BEAM_OK;
}

beam_status beam_tokens_read(const char *path, beam_tokens *out)
{
    char *image;
    size_t size;
    beam_h5 *f;
    beam_tokens t = {0};
    if (beam_text_is(path))
        return BEAM_FAIL(BEAM_EDATA, "%s: is text, not a token file; make one with `beam preprocess`", path);
    BEAM_TRY(beam_file_read(path, LARGEST_FILE, &image, &size));
    beam_status s = beam_h5_open(image, size, path, BEAM_EDATA, &f);
    if (s == BEAM_OK) {
        s = read_image(f, path, &t);
        beam_h5_close(f);
    }
    free(image);
    if (s != BEAM_OK) {
        beam_tokens_free(&t);
        return s;
    }
    *out = t;
    return BEAM_OK;
}

void beam_tokens_free(beam_tokens *t)
{
    free(t->id);
    free(t->loss);
    free(t->start);
    *t = (beam_tokens){0};
}
