/* A two-layer model, small enough to differentiate numerically, a batch of three sequences with padding for
 * this or any small model, and the loss that backward differentiates. */
#ifndef BEAM_TESTS_MODEL_TINY_MODEL_H
#define BEAM_TESTS_MODEL_TINY_MODEL_H

#include "core/batch.h"
#include "model/model.h"

enum { TINY_TOKENS = 13, TINY_SEQUENCES = 4, TINY_VOCAB = 11 };

/* Enough for the mask statistics of small models: three MoE layers of eight experts. */
enum { TINY_STATS = 3 * (BEAM_STAT_EXPERTS + 8) };

typedef struct {
    beam_batch batch;
    int32_t id[TINY_TOKENS], target[TINY_TOKENS], position[TINY_TOKENS], first[TINY_SEQUENCES + 1];
    uint8_t counted[TINY_TOKENS];
} tiny_batch;

/* E = 6, K = 3, mask gates with bias and router-aware terms; layer 0 is dense if `dense_first`. */
beam_model_config tiny_config(bool norm_topk, bool tied, bool dense_first);

/* Three sequences of 7, 1 and 3 tokens and 2 tokens of padding. */
void tiny_batch_make(tiny_batch *b);

/* Every parameter random; norms around 1. The gates' own weights are large enough that masks differ. */
void tiny_fill(beam_model *m, double gates);

/* Opens and fills, failing the test if it cannot. */
beam_model *tiny_open(const beam_model_config *c, beam_scope scope, bool checkpointing, beam_backend *be);

/* L_lm + balance * L_bal + penalty * L_reg from one forward pass, with L_reg as the method defines it. */
double tiny_loss(beam_model *m, const beam_batch *b, double penalty, double balance);

/* Forward and backward of the same loss into zeroed gradients. */
void tiny_gradients(beam_model *m, const beam_batch *b, double penalty, double balance);

/* The parameter of that name; fails the test if there is none. */
const beam_param *tiny_param(beam_model *m, const char *name);

#endif
