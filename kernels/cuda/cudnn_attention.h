/* Causal attention over packed sequences as graphs of cuDNN, which fuses them into a kernel or two. */
#ifndef BEAM_KERNELS_CUDA_CUDNN_ATTENTION_H
#define BEAM_KERNELS_CUDA_CUDNN_ATTENTION_H

#include "kernels/cuda/cudnn_graph.h"

/* q [tokens,heads,width], k [tokens,groups,width], v [tokens,groups,value_width], all bf16. The graph is for
 * at most so many sequences and tokens, each sequence of at most all tokens: what a batch really has, the
 * offsets and lengths say when it runs. */
typedef struct {
    int64_t sequences, tokens;
    int64_t heads, groups, width, value_width;
} beam_cudnn_shape;

/* Ids of the tensors that are bound when a graph runs. */
enum {
    /* i64 [sequences + 1]: where sequences begin in q, k, v, out and in what has one number per row of q, in
     * elements. The last one is where they end. */
    BEAM_CUDNN_AT_Q = 1,
    BEAM_CUDNN_AT_K,
    BEAM_CUDNN_AT_V,
    BEAM_CUDNN_AT_OUT,
    BEAM_CUDNN_AT_ROW,
    /* i32 [sequences]: their lengths, as queries and as keys; 0 where there is none. */
    BEAM_CUDNN_QUERIES,
    BEAM_CUDNN_KEYS,
    /* f32 by value: the scale of the scores, minus infinity, 1. */
    BEAM_CUDNN_SCALE,
    BEAM_CUDNN_LOWEST,
    BEAM_CUDNN_ONE,
    /* Operands of beam_attention and beam_attention_grad. */
    BEAM_CUDNN_Q,
    BEAM_CUDNN_K,
    BEAM_CUDNN_V,
    BEAM_CUDNN_OUT,
    BEAM_CUDNN_LSE,
    BEAM_CUDNN_DOUT,
    BEAM_CUDNN_DQ,
    BEAM_CUDNN_DK,
    BEAM_CUDNN_DV,
    /* Scratch of the gradient: <dout, out>, f32 [tokens,heads]; sums of dq, f32 like q; where heads share
     * keys, dk and dv of every head, bf16 [tokens,heads,width] and [tokens,heads,value_width]. */
    BEAM_CUDNN_DELTA,
    BEAM_CUDNN_DQ_SUMS,
    BEAM_CUDNN_DK_HEADS,
    BEAM_CUDNN_DV_HEADS,
    BEAM_CUDNN_IDS
};

/* Fill a graph that was opened. lse is what beam's own kernels make and read: either backward pass follows
 * either forward pass. */
void beam_cudnn_attention(beam_cudnn_graph *g, const beam_cudnn_shape *s);
void beam_cudnn_attention_grad(beam_cudnn_graph *g, const beam_cudnn_shape *s);

#endif
