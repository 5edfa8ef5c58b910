/* A model that decodes: a step takes a few tokens of one or several sequences through all layers, adds their
 * keys and values to the cache, and gives the logits that follow those that want them. Prefill is a step with
 * many tokens of a sequence, decoding one with a token of each.
 *
 * Weights are read as they are stored, and of the experts only those that some token of the step keeps. What
 * a token gets depends on its own sequence alone, and neither on what else is in the step, nor on how its
 * sequence was cut into steps, nor on the number of threads: the same bits. A rule for lone pairs ends this.
 *
 * On a GPU a step is one upload, launches, and two downloads. Steps in which every token wants logits, those
 * of plain decoding, are recorded when they come for the second time with so many tokens, and then repeated
 * (a CUDA graph).
 */
#ifndef BEAM_SERVE_DECODER_H
#define BEAM_SERVE_DECODER_H

#include "serve/decoder_weights.h"
#include "serve/lone.h"

typedef struct {
    int64_t sequences; /* at a time */
    int64_t context;   /* tokens of the longest sequence: at most the model's max_positions */
    int64_t chunk;     /* tokens of the largest step */
    int64_t logits;    /* tokens of a step that may want logits */
    beam_lone_rule lone;
} beam_decoder_options;

typedef struct {
    int32_t id;
    int32_t sequence; /* which; 0 to sequences - 1 */
    int32_t position; /* its tokens come in order, from 0; 0 starts it anew */
    bool wants_logits;
} beam_decoder_token;

/* Of all steps since the decoder was opened or the numbers were last taken. */
typedef struct {
    double seconds;          /* whole steps */
    double moe_seconds;      /* their mixture layers (routers and shared experts too); NaN on a GPU */
    double bytes, moe_bytes; /* weights, keys and values that had to be read; of mixture layers */
    int64_t tokens, steps;   /* tokens of all steps */
    int64_t kept, distinct;  /* pairs that ran; different experts, added up over steps and layers */
} beam_decoder_costs;

typedef struct beam_decoder beam_decoder;

/* `weights` (of this config, in the memory of `be`) and `be`, which can decode (kernels/decode/ops.h), must
 * outlive the decoder. The rule says which experts run; the soft form is not for decoding, and a rule for
 * lone pairs not for a GPU. */
beam_status beam_decoder_open(beam_decoder **out, const beam_model_config *config,
                              const beam_model_weights *weights, beam_expert_rule rule,
                              const beam_decoder_options *options, beam_backend *be);
void beam_decoder_close(beam_decoder *d); /* accepts NULL */

/* What decides as config.json says: masks where it has them, else every candidate runs. */
beam_expert_rule beam_decoder_rule(const beam_model_config *c);

/* From the next step on. What was recorded is recorded anew. */
void beam_decoder_set_rule(beam_decoder *d, beam_expert_rule rule);

/* 1 <= n <= chunk tokens; those of one sequence in the order of their positions. */
beam_status beam_decoder_step(beam_decoder *d, const beam_decoder_token *token, int64_t n);

/* Of the last step, valid until the next: float [V] after number i of the tokens that want logits; expert ids
 * [K] of a token in a mixture layer (counted from 0), -1 where a candidate was dropped. */
const float *beam_decoder_logits(const beam_decoder *d, int64_t i);
const int32_t *beam_decoder_experts(const beam_decoder *d, int64_t moe_layer, int64_t token);

/* Sets the cache to zeros, as if every sequence had a full context of such keys: for timing. */
void beam_decoder_blank(beam_decoder *d);

beam_decoder_costs beam_decoder_take_costs(beam_decoder *d);

#endif
