/* Any numbers as the arrays and attributes of a token file whose HDF5 and hashes are right: refused, or the
 * documents cover the tokens and every id is in the vocabulary. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/hdf5_private.h"
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

enum { FLAW_HASH = 1, FLAW_FORMAT = 2, FLAW_TYPE = 4, FLAW_SHAPE = 8, FLAW_MISSING = 16 };

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
    for (int flaw = 0; flaw <= FLAW_MISSING; flaw = flaw ? 2 * flaw : 1) {
        p.flaws = (uint8_t)flaw;
        take(context, &p, sizeof p);
    }
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

static bool put_attribute(hid_t file, const char *name, hid_t type, const void *value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute = H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    const bool good = H5Awrite(attribute, type, value) >= 0;
    H5Aclose(attribute);
    H5Sclose(space);
    return good;
}

static bool put_text(hid_t file, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(text) + 1);
    const bool good = put_attribute(file, name, type, text);
    H5Tclose(type);
    return good;
}

static bool put_array(hid_t file, const char *name, hid_t type, int ndim, hsize_t n, const void *values)
{
    const hid_t compact = H5Pcreate(H5P_DATASET_CREATE);
    const hid_t space = H5Screate_simple(ndim, (const hsize_t[]){n, 1}, NULL);
    H5Pset_layout(compact, H5D_COMPACT);
    const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, compact, H5P_DEFAULT);
    const bool good = H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(compact);
    return good;
}

static bool fill(hid_t file, const parts *p)
{
    char content[BEAM_SHA256_HEX] = "";
    const int64_t format = p->flaws & FLAW_FORMAT ? p->vocab : 1;
    const hid_t ids = p->flaws & FLAW_TYPE ? H5T_IEEE_F32LE : H5T_STD_I32LE;
    if (!(p->flaws & FLAW_HASH))
        hash_content(p, content);
    return put_attribute(file, "format", H5T_STD_I64LE, &format) &&
           put_attribute(file, "vocab_size", H5T_STD_I64LE, &p->vocab) &&
           put_text(file, "tokenizer", p->tokenizer) && put_text(file, "content", content) &&
           put_array(file, "ids", ids, p->flaws & FLAW_SHAPE ? 2 : 1, p->tokens, p->id) &&
           put_array(file, "loss", H5T_STD_U8LE, 1, p->losses, p->loss) &&
           (p->flaws & FLAW_MISSING || put_array(file, "start", H5T_STD_I64LE, 1, p->documents, p->start));
}

/* As beam would write it, but small and quick: nothing is chunked or compressed. */
static const char *write_file(const parts *p)
{
    enum { GROWTH = 4096 };
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, GROWTH, false);
    const hid_t file = H5Fcreate("tokens", H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    BEAM_ASSERT(fill(file, p) && H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0);
    const ssize_t size = H5Fget_file_image(file, NULL, 0);
    unsigned char *image = malloc(BEAM_H5_SEAL + (size_t)size);
    BEAM_ASSERT(image && H5Fget_file_image(file, image + BEAM_H5_SEAL, (size_t)size) == size);
    H5Fclose(file);
    beam_h5_write_seal(image, BEAM_H5_SEAL + (size_t)size, image);
    const char *path = fuzz_file("tokens.h5", image, BEAM_H5_SEAL + (size_t)size);
    free(image);
    return path;
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
    parts p = {0};
    beam_tokens t;
    memcpy(&p, bytes, size < sizeof p ? size : sizeof p);
    p.tokens %= MOST + 1;
    p.losses %= MOST + 1;
    p.documents %= MOST + 1;
    p.tokenizer[sizeof p.tokenizer - 1] = '\0';
    if (beam_tokens_read(write_file(&p), &t) == BEAM_OK) {
        check(&t);
        beam_tokens_free(&t);
    }
    return 0;
}
