/* One micro-batch of tokens, as the loader makes it and the model reads it (host memory).
 * T tokens stand in one row; they form `sequences` causal sequences that do not see one another. */
#ifndef BEAM_CORE_BATCH_H
#define BEAM_CORE_BATCH_H

#include <stdint.h>

#include "core/status.h"

typedef struct {
    int64_t tokens;    /* T */
    int32_t *id;       /* [T] token ids */
    int32_t *target;   /* [T] id of the next token, or -1: no loss here (loss mask, last token, padding) */
    int32_t *position; /* [T] place within its sequence, from 0 */
    uint8_t *counted;  /* [T] 1: a real token, 0: padding (no part in penalties and statistics) */
    int32_t *first;    /* [sequences + 1] first token of each sequence; first[sequences] = T */
    int sequences;
    int64_t targets;       /* number of target >= 0 */
    int64_t counted_total; /* number of counted != 0 */
} beam_batch;

/* Room for `tokens` tokens in as many sequences; contents undefined, counts zero, b->tokens = tokens. On
 * failure nothing is left to free. Free with beam_batch_free, which accepts a zeroed batch. */
beam_status beam_batch_alloc(beam_batch *b, int64_t tokens);
void beam_batch_free(beam_batch *b);

/* Of its tokens, targets and sequences: what a log can show of which samples a step saw. */
uint64_t beam_batch_hash(const beam_batch *b);

#endif
