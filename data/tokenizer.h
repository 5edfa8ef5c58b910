/* Tokenizers: text to token ids and back.
 *
 * There is one, "byte": a token per byte (ids 0 to 255) and three special tokens. It needs no files, loses
 * nothing and splits any language, which is what small models and tests want. Token files made from another
 * tokenizer are read as they are. */
#ifndef BEAM_DATA_TOKENIZER_H
#define BEAM_DATA_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

enum { BEAM_TOKEN_BYTES = 64 }; /* bytes that one token stands for, at most */

typedef struct {
    const char *name;
    int64_t vocab;
    int32_t eos, bos, pad; /* end of a document, begin of one, padding */
} beam_tokenizer;

/* The tokenizer of that name; NULL if beam has none (its ids can still be trained on, but not shown). */
const beam_tokenizer *beam_tokenizer_find(const char *name);

/* The ids of a text, without special tokens, into out, which has room for `size` of them. Returns their
 * number. Whatever stands in the text is text: special tokens cannot be written into it. */
int64_t beam_tokenizer_encode(const beam_tokenizer *t, const void *text, size_t size, int32_t *out);

/* The bytes that a token stands for, into out; returns their number. Special tokens and ids outside the
 * vocabulary stand for nothing. Characters may be spread over several tokens. */
size_t beam_tokenizer_decode(const beam_tokenizer *t, int32_t id, char out[BEAM_TOKEN_BYTES]);

/* The name of a special token, as "<|eos|>"; NULL for all others. */
const char *beam_tokenizer_special(const beam_tokenizer *t, int32_t id);

#endif
