/* Token files: HDF5 with ids, a loss mask, and where each document starts.
 *
 *     ids     i32 [N]       token ids of all documents, one after the other (zstd makes up for the width)
 *     loss    u8  [N]       1: this token is a target when it is predicted
 *     start   i64 [docs]    index of each document's first token
 *
 * plus attributes: format version, vocabulary size, tokenizer name, SHA-256 of the arrays' bytes. */
#ifndef BEAM_DATA_TOKENS_H
#define BEAM_DATA_TOKENS_H

#include <stdint.h>

#include "core/status.h"

typedef struct {
    int64_t tokens, documents, vocab;
    int32_t *id;    /* [tokens] */
    uint8_t *loss;  /* [tokens] */
    int64_t *start; /* [documents + 1]; start[documents] = tokens */
    char tokenizer[64];
    uint64_t hash; /* of the content */
} beam_tokens;

/* Writes `t` (t->hash is computed, not read) with the guarantees of beam_file_write. */
beam_status beam_tokens_write(const char *path, const beam_tokens *t);

/* Reads and verifies a token file. BEAM_EDATA if it is not one, damaged, or holds ids outside [0, vocab).
 * Free with beam_tokens_free. */
beam_status beam_tokens_read(const char *path, beam_tokens *out);
void beam_tokens_free(beam_tokens *t);

#endif
