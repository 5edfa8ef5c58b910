/* What a device provides: one table of operations, filled once for the CPU and once for CUDA.
 *
 * Callers use the checked front in kernels/ops.h, never the table itself. Ops return nothing: a device may
 * run them later. The backend keeps its first failure in `status`, and later ops do nothing; the caller looks
 * once, where it waits anyway (beam_sync).
 *
 * Letters: T tokens, D hidden size, E experts, K candidates per token (top-k), R = T*K pairs of (token,
 * candidate), F expert width, H query heads, G key/value heads, Dh head width, V vocabulary.
 *
 * Two element types, which every tensor below and in kernels/ops.h names:
 *   real  what there is much of: weights of the base model, activations, and gradients of activations;
 *   wide  what must be precise: routers, gates and all they make (logits, probabilities, weights, their
 *         gradients), gradients of parameters, moments, statistics of rows, losses, rotary tables.
 * On the CPU both are f32, or both f64 in the build that checks gradients. A GPU has real = wide = f32, or
 * real = bf16 with wide = f32; sums are taken in wide at least, and results rounded to real once. */
#ifndef BEAM_KERNELS_BACKEND_H
#define BEAM_KERNELS_BACKEND_H

#include "core/status.h"
#include "core/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct beam_backend beam_backend;

/* Which candidates a token has, which of them it keeps, and where each (token, candidate) pair stands once
 * pairs are grouped by expert. Rows of one expert are contiguous, its kept pairs first, each group in order
 * of tokens.
 *
 * E is that of `kept`. Candidates with ids from E on are null experts (AdaMoE, arXiv:2406.13233), which do
 * nothing: weight 0, never kept. Their pairs are in no group; their rows stand behind all groups. */
typedef struct {
    beam_tensor expert; /* i32  [T,K] candidates, best first; equal scores: lower id first        */
    beam_tensor weight; /* wide [T,K] combine weight g of the base model, before the mask         */
    beam_tensor logit;  /* wide [T,K] mask logit u                                                */
    beam_tensor gate;   /* wide [T,K] q = sigmoid(u); 1 where there is no mask gate               */
    beam_tensor keep;   /* u8   [T,K] m: 1 = this expert runs                                     */
    beam_tensor row;    /* i32  [T,K] row of the pair in the grouped order, a permutation of 0..R */
    beam_tensor pair;   /* i32  [R]   inverse of row: t*K + k                                     */
    beam_tensor first;  /* i32  [E+1] first row of each expert; first[E] = R without null experts */
    beam_tensor kept;   /* i32  [E]   kept rows of each expert: first[e] .. first[e]+kept[e]      */
} beam_route;

/* Which rows of the grouped order an op works on. Rows outside are neither read nor written. */
typedef enum { BEAM_ROWS_ALL, BEAM_ROWS_KEPT, BEAM_ROWS_DROPPED } beam_rows_of;

/* How a token's kept pairs weigh: hard w = g*m, dropped pairs do not run; soft w = g*q, every pair runs. */
typedef enum { BEAM_MASK_HARD, BEAM_MASK_SOFT } beam_mask_form;

/* The causal sequences in a row of T tokens: sequence i is [first[i], first[i+1]). */
typedef struct {
    beam_tensor first; /* i32 [>= n+1], on the device */
    int n;
} beam_sequences;

/* Which keys a query sees, and how sharply. */
typedef struct {
    double scale;   /* of q.k */
    int64_t window; /* a query sees itself and the window - 1 tokens before it; 0: all of them */
} beam_attention_rule;

/* From a router's probabilities to candidates and their weights. */
typedef struct {
    bool normalize; /* weights are divided by their sum (over candidates that are not null), */
    double scale;   /* then multiplied by this (1: as they are) */
    /* Group-limited top-k (DeepSeek-V2, arXiv:2405.04434): the experts form `groups` runs of equal length,
     * and candidates come from the `kept_groups` whose best expert is best. groups == kept_groups: no limit.
     * Null experts go with one group only. */
    int groups, kept_groups;
} beam_router_rule;

/* The trainable parts of one mask gate (method: u = W_m x + b + a*log(K*g') + c[rank], g' = g / sum of g).
 * The product W_m x is a gemm of the caller; the rest is here. Absent tensors (data NULL) leave their term
 * out. */
typedef struct {
    beam_tensor bias;      /* wide [E] b    */
    beam_tensor scale;     /* wide [1] a    */
    beam_tensor rank_bias; /* wide [K] c    */
    double cutoff;         /* keep when u >= cutoff = temperature * log(tau / (1 - tau)); 0 for tau = 0.5 */
    double temperature;    /* q = sigmoid(u / temperature); 1 unless annealed */
} beam_gate_terms;

/* What reaches a mask gate from above, in backward. */
typedef struct {
    beam_tensor dpair;   /* wide [T,K] a = <dL/dy, E_e(x)> */
    beam_tensor dgiven;  /* wide [T,K] a' of beam_give_back_grad; absent: 0 */
    beam_tensor dgate;   /* wide [T,K] a further gradient of q, of beam_union_penalty; absent: 0 */
    beam_tensor counted; /* u8 [T] */
    double penalty;      /* weight of the sum over counted pairs of q, or of q^2 */
    bool squared;
    double temperature; /* as in the forward pass */
    beam_mask_form form;
} beam_gate_grad_args;

/* What beam_pair_grad makes of the rows of pairs that run. */
typedef struct {
    beam_tensor weight;   /* wide [R] w of each row */
    beam_tensor dgate_up; /* real [R,2F] = w swiglu'(gate_up) dact; may be gate_up */
    beam_tensor act;      /* real [R,F] = w swiglu(gate_up); absent: nobody wants it */
} beam_pair_grads;

/* Products of the experts over rows of the grouped order: for every expert e, over its rows, c = a b[e]. No
 * two tensors overlap. Without x only the groups of the route count (first, kept), with it the whole plan and
 * `keep`. */
typedef struct {
    beam_tensor c;   /* real [R,N] */
    beam_tensor a;   /* real [R,M]; with x: room, which holds anything afterwards */
    beam_tensor x;   /* real [T,M]: row r of a is x[token of pair r]; absent: a holds the rows */
    beam_tensor b;   /* real [E,M,N], or [E,N,M] transposed if tb */
    beam_tensor act; /* real [R,N/2] = silu(gate) up of c, as by beam_swiglu; absent: nobody wants it */
    bool tb;
} beam_grouped_product;

/* Which candidates run where no mask gate decides: the baselines that need no training. */
typedef struct {
    int keep;     /* the best `keep`, and of these */
    double share; /* the fewest whose weights come to this share of the sum of all K (top-p); 1: no limit */
    /* Gain anchoring: kept weights are multiplied by (sum of all K) / (sum of the best max(anchor, kept)). K:
     * they stay what they are; 0: their sum becomes what all K came to. */
    int anchor;
} beam_prune_rule;

/* Learning from a teacher's logits (Hinton et al. 2015, arXiv:1503.02531). */
typedef struct {
    double weight;      /* of the divergence in the loss, 0 to 1; the rest is the targets' */
    double temperature; /* tau */
    double grad_scale;
    bool want_grad;
} beam_distill_args;

typedef struct {
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double grad_scale; /* gradients are multiplied by it first (clipping) */
    int64_t step;      /* 1 for the first update */
} beam_adamw_args;

/* Columns of the statistics a MoE layer adds up over its counted tokens: f64 [BEAM_STAT_EXPERTS + E]. */
enum {
    BEAM_STAT_TOKENS,
    BEAM_STAT_KEPT,
    BEAM_STAT_NONE_KEPT,
    BEAM_STAT_SOFT,   /* sum of q / K */
    BEAM_STAT_SQUARE, /* sum of q^2 / K */
    BEAM_STAT_EXPERTS
};

/* What decoding does besides (kernels/decode/ops.h). */
typedef struct beam_decode_ops beam_decode_ops;

typedef struct {
    const char *name;              /* "cpu", "cuda" */
    const beam_decode_ops *decode; /* NULL: cannot decode */

    /* An op that a backend does not have is NULL here; asking for it is a failure of the backend. */

    /* Memory of the device. alloc returns NULL and sets status on failure; free accepts NULL. */
    void *(*alloc)(beam_backend *, size_t bytes);
    void (*free)(beam_backend *, void *);
    void (*upload)(beam_backend *, void *device, const void *host, size_t bytes);
    void (*download)(beam_backend *, void *host, const void *device,
                     size_t bytes); /* zero-fills host on failure */
    void (*zero)(beam_backend *, void *device, size_t bytes);
    void (*sync)(beam_backend *);
    void (*close)(beam_backend *);

    /* Dense. */
    void (*copy)(beam_backend *, beam_tensor y, beam_tensor x); /* y = x      */
    void (*add)(beam_backend *, beam_tensor y, beam_tensor x);  /* y += x     */
    void (*gemm)(beam_backend *, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb, double alpha,
                 double beta);
    void (*add_bias)(beam_backend *, beam_tensor y, beam_tensor bias);
    void (*bias_grad)(beam_backend *, beam_tensor dbias, beam_tensor dy);
    void (*clip)(beam_backend *, beam_tensor x, double limit);
    void (*clip_grad)(beam_backend *, beam_tensor dx, beam_tensor x, double limit);
    void (*add_gated)(beam_backend *, beam_tensor y, beam_tensor x, beam_tensor score);
    void (*add_gated_grad)(beam_backend *, beam_tensor dx, beam_tensor dscore, beam_tensor dy, beam_tensor x,
                           beam_tensor score);
    void (*embed)(beam_backend *, beam_tensor y, beam_tensor table, beam_tensor id);
    void (*embed_grad)(beam_backend *, beam_tensor dtable, beam_tensor dy, beam_tensor id);
    void (*rmsnorm)(beam_backend *, beam_tensor y, beam_tensor inverse, beam_tensor x, beam_tensor weight,
                    double epsilon);
    void (*rmsnorm_grad)(beam_backend *, beam_tensor dx, beam_tensor dweight, beam_tensor dy, beam_tensor x,
                         beam_tensor weight, beam_tensor inverse, double beta);
    void (*rope)(beam_backend *, beam_tensor x, beam_tensor cosine, beam_tensor sine, beam_tensor position,
                 bool inverse);
    void (*latent_keys)(beam_backend *, beam_tensor k, beam_tensor own, beam_tensor shared);
    void (*latent_keys_grad)(beam_backend *, beam_tensor down, beam_tensor dshared, beam_tensor dk);
    void (*attention)(beam_backend *, beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k,
                      beam_tensor v, beam_sequences seq, beam_attention_rule rule);
    void (*attention_grad)(beam_backend *, beam_tensor dq, beam_tensor dk, beam_tensor dv, beam_tensor dout,
                           beam_tensor out, beam_tensor lse, beam_tensor q, beam_tensor k, beam_tensor v,
                           beam_sequences seq, beam_attention_rule rule);
    void (*swiglu)(beam_backend *, beam_tensor y, beam_tensor gate_up, const beam_route *route,
                   beam_rows_of rows);
    void (*swiglu_grad)(beam_backend *, beam_tensor dgate_up, beam_tensor dy, beam_tensor gate_up);
    void (*cross_entropy)(beam_backend *, beam_tensor logits, beam_tensor target, beam_tensor loss,
                          beam_tensor correct, double grad_scale, bool want_grad);
    void (*distill)(beam_backend *, beam_tensor logits, beam_tensor teacher, beam_tensor target,
                    beam_tensor loss, beam_tensor divergence, beam_tensor correct,
                    const beam_distill_args *args);

    /* Mixture of experts. */
    void (*router_topk)(beam_backend *, const beam_route *route, beam_tensor prob, beam_tensor logits,
                        beam_router_rule rule);
    void (*router_grad)(beam_backend *, beam_tensor dlogits, beam_tensor dweight, const beam_route *route,
                        beam_tensor prob, beam_tensor dprob, beam_tensor counted, beam_router_rule rule);
    void (*router_load)(beam_backend *, beam_tensor load, const beam_route *route, beam_tensor prob,
                        beam_tensor counted);
    void (*gate_open)(beam_backend *, const beam_route *route, beam_prune_rule rule);
    void (*mask_gate)(beam_backend *, const beam_route *route, beam_tensor product,
                      const beam_gate_terms *terms);
    void (*mask_gate_grad)(beam_backend *, beam_tensor dproduct, beam_tensor dweight,
                           const beam_gate_terms *grad, const beam_route *route,
                           const beam_gate_grad_args *args);
    void (*union_penalty)(beam_backend *, beam_tensor dgate, beam_tensor sum, const beam_route *route,
                          beam_tensor counted, int64_t group, double weight);
    void (*give_back)(beam_backend *, beam_tensor y, beam_tensor given, const beam_route *route,
                      beam_mask_form form);
    void (*give_back_grad)(beam_backend *, beam_tensor dvector, beam_tensor dgiven, beam_tensor dy,
                           beam_tensor given, const beam_route *route, beam_mask_form form);
    void (*mask_stats)(beam_backend *, beam_tensor stats, const beam_route *route, beam_tensor counted);
    void (*route_plan)(beam_backend *, const beam_route *route);
    void (*route_gather)(beam_backend *, beam_tensor rows_x, beam_tensor x, const beam_route *route,
                         beam_rows_of rows);
    void (*route_gather_grad)(beam_backend *, beam_tensor dx, beam_tensor drows, const beam_route *route,
                              beam_rows_of rows);
    void (*route_combine)(beam_backend *, beam_tensor y, beam_tensor rows_y, const beam_route *route,
                          beam_mask_form form);
    void (*route_weights)(beam_backend *, beam_tensor rows, const beam_route *route, beam_mask_form form);
    void (*route_pairs)(beam_backend *, beam_tensor pairs, beam_tensor numbers, const beam_route *route,
                        beam_rows_of rows);
    void (*pair_grad)(beam_backend *, beam_tensor dot, const beam_pair_grads *out, beam_tensor dact,
                      beam_tensor gate_up, const beam_route *route, beam_rows_of rows);
    void (*grouped_gemm)(beam_backend *, const beam_grouped_product *p, const beam_route *route,
                         beam_rows_of rows);
    void (*grouped_wgrad)(beam_backend *, beam_tensor dw, beam_tensor dy, beam_tensor x,
                          const beam_route *route, beam_rows_of rows);
    void (*expert_peaks)(beam_backend *, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                         const beam_route *route, beam_rows_of rows);

    /* Update. */
    void (*adamw)(beam_backend *, beam_tensor value, beam_tensor grad, beam_tensor m, beam_tensor v,
                  const beam_adamw_args *args);
    void (*sum_squares)(beam_backend *, beam_tensor sum, beam_tensor x);
} beam_ops;

struct beam_backend {
    const beam_ops *ops;
    beam_status status; /* sticky: the first failure */
    beam_dtype real, wide;
    const char *missing; /* the first op asked for that the table does not have; NULL: none */
    int threads;
    int64_t waits; /* how often the host has waited: downloads, and beam_sync with work since the last wait */
    bool busy;     /* work since the last wait */
    bool recording;     /* between beam_record and beam_end_record (kernels/decode/ops.h) */
    bool device_memory; /* tensors live where the host, and MPI, cannot read */
    void *stream;       /* with device_memory: the CUDA stream on which all ops run in order */
    void *impl;
};

/* The wide type that goes with a real one. */
static inline beam_dtype beam_wide_of(beam_dtype t)
{
    return t == BEAM_BF16 ? BEAM_F32 : t;
}

/* The CPU backend: OpenBLAS for products, OpenMP over tokens, heads and experts. threads <= 0: as many as
 * OpenMP would use. Results do not depend on the number of threads: work is cut into pieces by shape alone,
 * and every sum has a fixed order. Close with beam_backend_close. */
beam_status beam_backend_cpu(beam_backend *out, int threads);

#ifdef __cplusplus
}
#endif
#endif
