/* A model's quality on a text while it decodes: several rows side by side, a token of each per step, as an
 * engine has them. What depends on a step's company, such as lone pairs, shows only here. */
#ifndef BEAM_SERVE_DECODE_EVAL_H
#define BEAM_SERVE_DECODE_EVAL_H

#include "data/loader.h"
#include "serve/decoder.h"

typedef struct {
    double loss;     /* mean negative log-likelihood of a target, nats */
    double accuracy; /* share of targets that are the most likely token */
    int64_t targets, tokens, steps;
    double avg_active; /* kept experts per token and mixture layer */
    double distinct;   /* different ones per step and mixture layer */
    double seconds;    /* of all steps */
} beam_decode_eval_result;

/* Rows [0, limit) of the loader (limit <= 0: one epoch), each a document of its own (packing false), as many
 * at a time as it reads, which is `sequences`, of at most `context` tokens. */
beam_status beam_decode_evaluate(const beam_model_config *c, const beam_model_weights *w,
                                 beam_expert_rule rule, const beam_decoder_options *options, beam_loader *l,
                                 int64_t limit, beam_backend *be, beam_decode_eval_result *out);

#endif
