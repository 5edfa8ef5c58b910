/* Any numbers as the arrays and attributes of a token file: refused, or the documents cover the tokens and
 * every id is in the vocabulary. HDF5, which would take most of the time, is left out (the target hdf5 has
 * it): the functions of data/hdf5_image.h that data/tokens.c calls are here, and take what they read from the
 * input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/hdf5_image.h"
#include "data/tokens.h"
#include "fuzz/fuzz.h"

enum { MOST = 16 };

/* What the input is cut into. */
typedef struct {
    uint8_t tokens, losses, documents, flaws; /* flaws: bits */
    int64_t vocab;
    int32_t id[MOST];
    uint8_t loss[MOST];
    int64_t start[MOST];
    char tokenizer[80];
} parts;

enum {
    FLAW_HASH = 1,
    FLAW_FORMAT = 2,
    FLAW_TYPE = 4,
    FLAW_SHAPE = 8,
    FLAW_MISSING = 16,
    FLAW_UNREADABLE = 32,
    FLAW_NAMELESS = 64,
    FLAW_LAST = FLAW_NAMELESS
};

struct beam_h5 {
    parts p;
    beam_status error;
};

void fuzz_seeds(fuzz_taker take, void *context)
{
    parts p = {.tokens = 6,
               .losses = 6,
               .documents = 2,
               .vocab = 259,
               .id = {1, 2, 3, 4, 5, 256},
               .loss = {0, 1, 1, 1, 0, 1},
               .start = {0, 3},
               .tokenizer = "byte"};
    for (int flaw = 0; flaw <= FLAW_LAST; flaw = flaw ? 2 * flaw : 1) {
        p.flaws = (uint8_t)flaw;
        take(context, &p, sizeof p);
    }
}

beam_status beam_h5_open(const void *image, size_t size, const char *path, beam_status error, beam_h5 **out)
{
    (void)path;
    beam_h5 *f = calloc(1, sizeof *f);
    BEAM_ASSERT(f);
    memcpy(&f->p, image, size < sizeof f->p ? size : sizeof f->p);
    f->p.tokens %= MOST + 1;
    f->p.losses %= MOST + 1;
    f->p.documents %= MOST + 1;
    f->p.tokenizer[sizeof f->p.tokenizer - 1] = '\0';
    f->error = error;
    *out = f;
    return BEAM_OK;
}

void beam_h5_close(beam_h5 *f)
{
    free(f);
}

static bool array_of(beam_h5 *f, const char *name, beam_tensor *t)
{
    parts *p = &f->p;
    if (strcmp(name, "ids") == 0)
        *t = beam_view(p->id, p->flaws & FLAW_TYPE ? BEAM_F32 : BEAM_I32, BEAM_DIMS(p->tokens));
    else if (strcmp(name, "loss") == 0)
        *t = beam_view(p->loss, BEAM_U8, BEAM_DIMS(p->losses));
    else if (strcmp(name, "start") == 0 && !(p->flaws & FLAW_MISSING))
        *t = beam_view(p->start, BEAM_I64, BEAM_DIMS(p->documents));
    else
        return false;
    if (p->flaws & FLAW_SHAPE)
        t->dim[t->ndim++] = 1;
    return true;
}

beam_status beam_h5_shape(beam_h5 *f, const char *name, beam_tensor *shape)
{
    return array_of(f, name, shape) ? BEAM_OK : BEAM_FAIL(f->error, "no array %s", name);
}

beam_status beam_h5_get(beam_h5 *f, const char *name, beam_tensor t)
{
    beam_tensor from;
    if (f->p.flaws & FLAW_UNREADABLE)
        return BEAM_FAIL(f->error, "damaged array %s", name);
    BEAM_ASSERT(array_of(f, name, &from) && from.dtype == t.dtype && beam_bytes(from) == beam_bytes(t));
    memcpy(t.data, from.data, beam_bytes(t));
    return BEAM_OK;
}

static void hash_content(const parts *p, char hex[BEAM_SHA256_HEX])
{
    char id[BEAM_SHA256_HEX], loss[BEAM_SHA256_HEX], start[BEAM_SHA256_HEX], all[4 * BEAM_SHA256_HEX + 64];
    beam_sha256(p->id, p->tokens * sizeof *p->id, id);
    beam_sha256(p->loss, p->losses, loss);
    beam_sha256(p->start, p->documents * sizeof *p->start, start);
    const int n =
        snprintf(all, sizeof all, "%s %s %s %lld %s", id, loss, start, (long long)p->vocab, p->tokenizer);
    beam_sha256(all, (size_t)n, hex);
}

beam_status beam_h5_get_text(beam_h5 *f, const char *name, char *text, size_t size)
{
    char content[BEAM_SHA256_HEX] = "";
    const bool hash = strcmp(name, "content") == 0;
    if (hash && !(f->p.flaws & FLAW_HASH))
        hash_content(&f->p, content);
    const int n = snprintf(text, size, "%s", hash ? content : f->p.tokenizer);
    return (size_t)n < size && !(f->p.flaws & FLAW_NAMELESS)
               ? BEAM_OK
               : BEAM_FAIL(f->error, "no attribute %s of that length", name);
}

beam_status beam_h5_get_i64(beam_h5 *f, const char *name, int64_t *value)
{
    *value = strcmp(name, "format") == 0 && !(f->p.flaws & FLAW_FORMAT) ? 1 : f->p.vocab;
    return BEAM_OK;
}

/* Nothing is written here. */
beam_status beam_h5_create(beam_h5 **out)
{
    *out = NULL;
    abort();
}

beam_status beam_h5_put(beam_h5 *f, const char *name, beam_tensor t)
{
    (void)f, (void)name, (void)t;
    abort();
}

beam_status beam_h5_put_text(beam_h5 *f, const char *name, const char *text)
{
    (void)f, (void)name, (void)text;
    abort();
}

beam_status beam_h5_put_i64(beam_h5 *f, const char *name, int64_t value)
{
    (void)f, (void)name, (void)value;
    abort();
}

beam_status beam_h5_finish(beam_h5 *f, void **image, size_t *size)
{
    (void)f, (void)image, (void)size;
    abort();
}

static void check(const beam_tokens *t)
{
    BEAM_ASSERT(t->vocab > 0 && t->start[0] == 0 && t->start[t->documents] == t->tokens);
    for (int64_t i = 0; i < t->documents; i++)
        BEAM_ASSERT(t->start[i] < t->start[i + 1]);
    for (int64_t i = 0; i < t->tokens; i++)
        BEAM_ASSERT(t->id[i] >= 0 && t->id[i] < t->vocab && t->loss[i] <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    beam_tokens t;
    if (beam_tokens_read(fuzz_file("tokens.h5", bytes, size), &t) == BEAM_OK) {
        check(&t);
        beam_tokens_free(&t);
    }
    return 0;
}
