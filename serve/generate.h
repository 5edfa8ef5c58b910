/* Continuations of prompts: several at a time, each as long as it takes. Prompts enter in pieces beside the
 * tokens of those that are further on; where one ends, the next takes its place. What a prompt gets does not
 * depend on the others. */
#ifndef BEAM_SERVE_GENERATE_H
#define BEAM_SERVE_GENERATE_H

#include "serve/decoder.h"
#include "serve/sampler.h"

typedef struct {
    int64_t sequences;  /* prompts at a time */
    int64_t chunk;      /* tokens of the largest step, at least `sequences` */
    int64_t max_tokens; /* new ones of each prompt */
    int64_t eos;        /* a prompt's text ends with this token, which is part of it; -1: only by length */
    bool experts;       /* which experts ran is recorded */
    beam_sampling sampling;
    beam_lone_rule lone; /* BEAM_LONE_KEEP: what the header of this file promises */
} beam_generate_options;

/* A prompt and what follows it. */
typedef struct {
    const int32_t *prompt;
    int64_t prompt_tokens; /* at least 1 */
    int32_t *id;           /* [n] new tokens */
    int64_t n;
    bool ended;      /* by eos */
    int32_t *expert; /* [prompt_tokens + n - 1, layers, K] what ran for each token but the last, which did not
                        pass through the model; -1: dropped. NULL unless recorded */
} beam_generation;

/* Fills id, n, ended, expert of all `count` entries, whose prompts are given. *costs: of all steps. Free the
 * results with beam_generations_free, also after a failure. */
beam_status beam_generate(const beam_model_config *c, const beam_model_weights *w, beam_expert_rule rule,
                          const beam_generate_options *options, beam_backend *be, beam_generation *all,
                          int64_t count, beam_decoder_costs *costs);
void beam_generations_free(beam_generation *all, int64_t count);

#endif
