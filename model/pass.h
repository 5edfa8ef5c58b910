/* What the layers share while one micro-batch passes through the model. */
#ifndef BEAM_MODEL_PASS_H
#define BEAM_MODEL_PASS_H

#include "data/model_config.h"
#include "kernels/ops.h"

/* Which experts run. */
typedef struct {
    bool masks;            /* the mask gates decide; otherwise `prune` does */
    beam_mask_form form;   /* hard where masks is false */
    double cutoff;         /* mask logit at which an expert is kept, at temperature 1 */
    double temperature;    /* of the soft mask */
    beam_prune_rule prune; /* without masks */
} beam_expert_rule;

/* Every candidate runs: the base model. */
static inline beam_prune_rule beam_no_pruning(const beam_model_config *c)
{
    return (beam_prune_rule){.keep = (int)c->top_k, .share = 1, .anchor = (int)c->top_k};
}

/* The loss terms of a backward pass that concern masks. */
typedef struct {
    double penalty;      /* weight of one soft mask q: beta / (layers * tokens * K) */
    bool squared;        /* q^2 in place of q */
    double union_weight; /* of one group's union: weight / (layers * groups); 0: no such term */
    int64_t union_group; /* tokens of a group */
} beam_mask_terms;

/* A MoE layer whose experts have run, on the device until the next layer runs. */
typedef struct {
    int layer; /* counts MoE layers from 0 */
    const beam_route *route;
    beam_tensor counted;  /* u8 [T] real tokens */
    beam_tensor rows_out; /* [R,D] E_e(x) of the pairs that run, before the combine weight */
} beam_moe_seen;

typedef void (*beam_moe_observer)(void *context, const beam_moe_seen *seen);

typedef struct beam_expert_parallel beam_expert_parallel;

typedef struct {
    beam_backend *be;
    const beam_model_config *config;
    beam_expert_parallel *parallel; /* where experts are spread over ranks; NULL: all are here */
    beam_expert_rule rule;
    beam_arena *scratch;           /* mark and release around each use */
    beam_tensor position, counted; /* i32 [T], u8 [T] */
    beam_tensor cosine, sine;      /* wide [positions, Dh/2] */
    beam_sequences sequences;
    beam_tensor stats;          /* f64 [MoE layers, BEAM_STAT_EXPERTS + E] +=; absent: nobody counts */
    beam_moe_observer observer; /* of every MoE layer; NULL: nobody watches */
    void *observer_context;
    beam_tensor routers;   /* wide [MoE layers,E+N,D] instead of the layers' own; absent: these */
    beam_tensor load;      /* f64 [2,E+N] of router_load; absent if nobody needs it */
    beam_tensor dprob;     /* wide [E+N] gradient of the load-balancing loss; absent: none */
    beam_mask_terms terms; /* for backward */
    beam_tensor union_sum; /* f64 [2] of union_penalty; absent without such a term */
} beam_pass;

#endif
