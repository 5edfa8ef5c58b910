/* The parameters of a model, layer by layer, as handles into one list of named parameters.
 * Experts of a layer are stacked in one parameter; gate and up rows are interleaved (beam_interleave_row).
 * Rows that rotate stand as halves (beam_rope), however the checkpoint orders them: model/hf_map.h
 * translates. */
#ifndef BEAM_MODEL_WEIGHTS_H
#define BEAM_MODEL_WEIGHTS_H

#include "core/param.h"
#include "data/model_config.h"
#include "kernels/ops.h"

typedef enum {
    BEAM_SCOPE_NONE,    /* nothing trains: evaluation */
    BEAM_SCOPE_MASKS,   /* the mask gates; the base model is frozen */
    BEAM_SCOPE_ROUTERS, /* the mask gates and the base model's routers */
    BEAM_SCOPE_ALL,
} beam_scope;

/* Absent parts are NULL. */
typedef struct {
    const beam_param *q, *k, *v, *o;            /* [H*Dh,D] [G*Dh,D] [G*Dh,D] [D,H*Dv] */
    const beam_param *q_bias, *k_bias, *v_bias; /* [H*Dh] [G*Dh] [G*Dh] */
    const beam_param *o_bias;                   /* [D] */
    const beam_param *q_norm, *k_norm;          /* [Dh], or [H*Dh] [G*Dh] over the whole projection */
    int64_t window;                             /* of this layer; 0: none */
    /* Latent attention, in place of k and v; with q_down, q is [H*Dh,Rq] of the query's latent. */
    const beam_param *q_down, *q_down_norm;   /* [Rq,D] [Rq] */
    const beam_param *kv_down, *kv_down_norm; /* [R + rotary,D]: latent, then the rotary key; [R] */
    const beam_param *kv_up;                  /* [H*(Dh - rotary) + H*Dv,R]: keys, then values */
} beam_attention_weights;

typedef struct {
    const beam_param *weight;    /* W_m [E,D] */
    const beam_param *bias;      /* b [E], or NULL */
    const beam_param *scale;     /* a [1], or NULL */
    const beam_param *rank_bias; /* c [K], or NULL */
    const beam_param *given;     /* d [E,D], what dropped experts give back, or NULL */
} beam_mask_weights;

typedef struct {
    const beam_param *router;                       /* W_g [E+N,D]; NULL in a dense layer */
    const beam_param *gate_up;                      /* [E,2F,D] of the experts held; dense: [2F,D] */
    const beam_param *down;                         /* [E,D,F]; dense: [D,F] */
    const beam_param *shared_gate_up, *shared_down; /* [2S,D] [D,S] of the shared expert, or NULL */
    const beam_param *shared_gate;                  /* [1,D], or NULL */
    beam_mask_weights mask;                         /* all NULL without mask gates */
} beam_mlp_weights;

typedef struct {
    const beam_param *attention_norm, *mlp_norm; /* [D] */
    beam_attention_weights attention;
    beam_mlp_weights mlp;
} beam_layer_weights;

typedef struct {
    beam_params params; /* what the model computes with */
    /* What is loaded, updated and saved: params itself or, where base weights train that are not wide, a list
     * of its own with wide values of those, of which params has the rounded copies (Micikevicius et al. 2018,
     * arXiv:1710.03740). */
    beam_params stored;
    beam_layer_weights *layer;      /* [layers] */
    const beam_param *embed, *norm; /* [V,D] [D] */
    const beam_param *head;         /* [V,D]; the embedding itself when tied */
    void *value_block, *grad_block; /* device memory */
    beam_tensor grads;              /* wide [n]: all gradients as one block, padding included */
    beam_tensor trained;            /* wide [n]: the values they belong to, in the same places */
} beam_model_weights;

/* Lists the parameters with their shapes and flags, without memory: data of values and gradients is NULL.
 * real: what the model computes with. */
beam_status beam_model_weights_list(beam_model_weights *w, const beam_model_config *c, beam_scope scope,
                                    beam_dtype real);
void beam_model_weights_unlist(beam_model_weights *w);

/* Bytes of the blocks that values and gradients need. Leaves addresses in them that lead nowhere. */
void beam_model_weights_measure(beam_model_weights *w, size_t *values, size_t *grads);

/* Allocates what a list asks for: values in the type that each has there (uninitialised, the padding of
 * those that train zero), and gradients (zero). On failure nothing is left to free. Close with
 * beam_model_weights_free. */
beam_status beam_model_weights_place(beam_model_weights *w, beam_backend *be);

/* Both: lists and allocates every parameter (values uninitialised) and, for those in scope, gradients (zero).
 * Mask gates exist if c->mask.present. On failure nothing is left to free. Close with
 * beam_model_weights_free. */
beam_status beam_model_weights_alloc(beam_model_weights *w, const beam_model_config *c, beam_scope scope,
                                     beam_backend *be);
void beam_model_weights_free(beam_model_weights *w, beam_backend *be);

/* Rounds the stored values to those that the model computes with, where these are others. */
void beam_model_weights_round(const beam_model_weights *w, beam_backend *be);

/* Where in the block of gradients those of `p` and of all parameters after it begin: its length if there are
 * none. */
int64_t beam_model_weights_offset(const beam_model_weights *w, const beam_param *p);

/* True if the parameter exists and has a gradient. */
bool beam_trains(const beam_param *p);

#endif
