#include "data/tokenizer.h"

#include <string.h>

enum { EOS = 256, BOS, PAD, VOCAB };

const beam_tokenizer *beam_tokenizer_find(const char *name)
{
    static const beam_tokenizer byte = {.name = "byte", .vocab = VOCAB, .eos = EOS, .bos = BOS, .pad = PAD};
    return strcmp(name, byte.name) == 0 ? &byte : NULL;
}

int64_t beam_tokenizer_encode(const beam_tokenizer *t, const void *text, size_t size, int32_t *out)
{
    (void)t;
    const unsigned char *byte = text;
    for (size_t i = 0; i < size; i++)
        out[i] = byte[i];
    return (int64_t)size;
}

size_t beam_tokenizer_decode(const beam_tokenizer *t, int32_t id, char out[BEAM_TOKEN_BYTES])
{
    (void)t;
    if (id < 0 || id > 255)
        return 0;
    out[0] = (char)(unsigned char)id;
    return 1;
}

const char *beam_tokenizer_special(const beam_tokenizer *t, int32_t id)
{
    if (id == t->eos)
        return "<|eos|>";
    if (id == t->bos)
        return "<|bos|>";
    return id == t->pad ? "<|pad|>" : NULL;
}
