#include "core/batch.h"

#include <stdlib.h>

beam_status beam_batch_alloc(beam_batch *b, int64_t tokens)
{
    const size_t n = (size_t)tokens;
    *b = (beam_batch){.tokens = tokens,
                      .id = calloc(n, sizeof *b->id),
                      .target = calloc(n, sizeof *b->target),
                      .position = calloc(n, sizeof *b->position),
                      .counted = calloc(n, sizeof *b->counted),
                      .first = calloc(n + 1, sizeof *b->first)};
    if (b->id && b->target && b->position && b->counted && b->first)
        return BEAM_OK;
    beam_batch_free(b);
    return BEAM_FAIL(BEAM_ENOMEM, "no memory for a batch of %zu tokens", n);
}

void beam_batch_free(beam_batch *b)
{
    free(b->id);
    free(b->target);
    free(b->position);
    free(b->counted);
    free(b->first);
    *b = (beam_batch){0};
}

uint64_t beam_batch_hash(const beam_batch *b)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, over numbers in place of bytes */
    for (int64_t i = 0; i < b->tokens; i++) {
        hash = (hash ^ (uint32_t)b->id[i]) * 0x100000001b3u;
        hash = (hash ^ (uint32_t)b->target[i]) * 0x100000001b3u;
        hash = (hash ^ (uint32_t)b->position[i]) * 0x100000001b3u;
    }
    return hash;
}
