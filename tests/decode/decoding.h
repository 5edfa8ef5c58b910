/* Models of tests/fixtures/families, decoded token by token. All functions fail the test that calls them if
 * they cannot do what they say. */
#ifndef BEAM_TESTS_DECODE_DECODING_H
#define BEAM_TESTS_DECODE_DECODING_H

#include "model/hf_fixture.h"
#include "serve/decoder.h"

typedef struct {
    hf_fixture f;
    beam_model *m;
    beam_model_weights weights;
    int64_t length; /* of every sequence */
} decoding;

/* A model on the processor, its parameters borrowed; with all mask gates, or none. */
void decoding_open(decoding *t, const char *variant, bool masks);
void decoding_close(decoding *t);

/* The example model as its folder stores it, in the memory of `be`, with one sequence of 16 tokens. */
void decoding_open_example(decoding *t, beam_backend *be);
void decoding_close_example(decoding *t, beam_backend *be);

beam_decoder *decoding_new(const decoding *t, const beam_model_weights *weights, beam_expert_rule rule,
                           int64_t sequences, int64_t chunk, beam_backend *be);

/* Sequences [first, first + n) side by side, `step` tokens of each at a time; their logits [T,V] and experts
 * [T,layers,K] where the batch has them. `expert` may be NULL. */
void decoding_run(const decoding *t, beam_decoder *d, int64_t first, int64_t n, int64_t step, float *logits,
                  int32_t *expert);

/* Room for what it fills, new memory. */
float *decoding_logits(const decoding *t);
size_t decoding_logit_bytes(const decoding *t);
int32_t *decoding_experts(const decoding *t);
size_t decoding_expert_bytes(const decoding *t);

/* The example, `step` tokens at a time, against the forward pass of its floats. */
void decoding_check_example(decoding *t, beam_backend *be, int64_t step);

/* Equal within what another order of float32 sums makes of logits of a few units, with the same most likely
 * tokens. */
void decoding_assert_close(const decoding *t, const float *got, const float *want);

#endif
