/* What the layers share while one micro-batch passes through the model. */
#ifndef BEAM_MODEL_PASS_H
#define BEAM_MODEL_PASS_H

#include "data/model_config.h"
#include "kernels/ops.h"

/* Which experts run. */
typedef struct {
    bool masks;          /* the mask gates decide; otherwise the best `keep` candidates run */
    beam_mask_form form; /* hard where masks is false */
    double cutoff;       /* mask logit at which an expert is kept */
    int keep;            /* without masks: candidates that run (K: the base model) */
    bool renormalize;    /* without masks: divide the weights of the `keep` best by their sum */
} beam_expert_rule;

typedef struct {
    beam_backend *be;
    const beam_model_config *config;
    beam_expert_rule rule;
    beam_arena *scratch;           /* mark and release around each use */
    beam_tensor position, counted; /* i32 [T], u8 [T] */
    beam_tensor cosine, sine;      /* real [positions, Dh/2] */
    beam_sequences sequences;
    beam_tensor load;  /* f64 [2,E] of router_load; absent if nobody needs it */
    beam_tensor dprob; /* real [E] gradient of the load-balancing loss; absent: none */
    double penalty;    /* beta / (layers * tokens * K), for backward */
} beam_pass;

#endif
