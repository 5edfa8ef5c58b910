/* The mixture layer of serve/beam_moe.h on a device: routing, then a pass over the experts that some token
 * keeps. Called without a backend, on the caller's stream and in the caller's memory: nothing allocates or
 * waits, so that calls may be captured into a CUDA graph. Every program links this, built with CUDA or not.
 *
 * A token's numbers depend on no other token of the call, nor on the size of the device: every output is one
 * dot product in an order that its length alone decides, and outputs of experts are added in the order of
 * their ids. */
#ifndef BEAM_KERNELS_CUDA_DECODE_H
#define BEAM_KERNELS_CUDA_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BEAM_DECODE_MOST_COLUMNS = 1024, /* experts and null experts: a token's logits stand in shared memory */
    BEAM_DECODE_MOST_TOKENS = 1 << 20,
    BEAM_DECODE_TILE = 8 /* tokens that are routed together */
};

typedef struct {
    const void *data; /* NULL: absent */
    bool is_bf16;     /* else float */
} beam_decode_matrix;

/* One call for T tokens. All pointers are the device's. Letters as in serve/beam_moe.h. */
typedef struct {
    int32_t tokens, hidden_size, experts, null_experts, top_k, expert_size, shared_size;
    bool hidden_is_bf16;
    const void *x; /* [T,D] */
    void *y;       /* [T,D] */

    beam_decode_matrix router, gate_up, down, shared_gate_up, shared_down, shared_gate, mask_router,
        give_back;
    const float *mask_bias, *mask_scale, *mask_rank_bias; /* each NULL: absent */
    double cutoff;                                        /* u >= cutoff keeps a candidate */
    bool normalize;
    double scale;
    int32_t groups, kept_groups;
    int32_t keep, anchor; /* pruning without masks */
    double share;

    int32_t *id, *candidate; /* [T,K]; candidate and gain may be NULL where nobody reads them */
    float *weight, *gain;

    /* Workspace: contents do not matter. */
    float *logit;                      /* [T,E+N] */
    float *product;                    /* [T,E], with masks */
    int32_t *arrived;                  /* [2 + tiles] counters */
    int32_t *actives;                  /* [1] */
    int32_t *active;                   /* [E] ids of experts that have rows, ascending */
    int32_t *first;                    /* [E+1] first row of each active expert, by its number in `active` */
    int32_t *pair;                     /* [T,K] pair of each row: grouped by expert, then by token */
    float *act;                        /* [T*K, act_stride] silu(gate) * up of each row, F of them */
    float *shared_act;                 /* [T, shared_stride] */
    float *shared_score;               /* [T] */
    int64_t act_stride, shared_stride; /* beam_decode_stride */
} beam_decode_call;

/* Floats between rows of activations, so that each starts at a vector. */
static inline int64_t beam_decode_stride(int64_t width)
{
    return (width + 7) / 8 * 8;
}

static inline int64_t beam_decode_tiles(int64_t tokens)
{
    return (tokens + BEAM_DECODE_TILE - 1) / BEAM_DECODE_TILE;
}

/* Whether this build has the kernels. */
bool beam_decode_compiled(void);

/* Fills the pairs and, with `list`, what beam_decode_experts needs of them. False if the device refuses. */
bool beam_decode_route(const beam_decode_call *c, bool list, void *stream);

/* The list alone, from pairs of the caller's. Ids outside [0, E) count as dropped. */
bool beam_decode_list(const beam_decode_call *c, void *stream);

/* y from the list: experts, shared expert, give-back. */
bool beam_decode_experts(const beam_decode_call *c, void *stream);

#ifdef __cplusplus
}
#endif
#endif
