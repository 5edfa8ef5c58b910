/* The next token from logits: the most likely one, or one drawn at random. Random numbers are counted, not
 * kept: the same seed, stream and index give the same token. */
#ifndef BEAM_SERVE_SAMPLER_H
#define BEAM_SERVE_SAMPLER_H

#include <stdint.h>

#include "core/status.h"

typedef struct {
    double temperature; /* 0: the most likely token, of equal ones the lowest id */
    double top_p;       /* draws from the fewest most likely tokens that have this much probability; 1: all */
    uint64_t seed;
} beam_sampling;

typedef struct beam_sampler_choice beam_sampler_choice;

typedef struct {
    beam_sampling sampling;
    int64_t vocab;
    beam_sampler_choice *choice; /* [vocab], if something is drawn */
} beam_sampler;

beam_status beam_sampler_open(beam_sampler *s, beam_sampling sampling, int64_t vocab);
void beam_sampler_close(beam_sampler *s);

/* The token after logits[vocab]. `stream` names the sequence, `index` the place in it. BEAM_ENUMERIC if the
 * logits are not finite. */
beam_status beam_sampler_take(beam_sampler *s, const float *logits, uint64_t stream, uint64_t index,
                              int32_t *out);

#endif
