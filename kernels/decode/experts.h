/* The feed-forward products of a mixture layer for few tokens: down(silu(gate x) * up x). Only the experts on
 * the list are read, each once for all of its tokens. */
#ifndef BEAM_KERNELS_DECODE_EXPERTS_H
#define BEAM_KERNELS_DECODE_EXPERTS_H

#include "kernels/decode/thin.h"

/* One expert, or a dense or shared feed-forward part, and the tokens that run it. */
typedef struct {
    beam_matrix gate_up, down; /* [2F,D] interleaved (beam_interleave_row), [D,F] */
    int64_t tokens;
    const float **x;              /* [tokens] rows of D */
    float *act;                   /* [tokens,F] silu(gate) * up */
    float *out;                   /* [tokens,D] */
    int64_t first_up, first_down; /* numbers of its first pieces of work: filled by beam_experts_run */
} beam_expert_work;

/* Fills act and out of all n on the list. Threads share the pieces, which are of about equal bytes. */
void beam_experts_run(int threads, beam_expert_work *work, int64_t n);

#endif
