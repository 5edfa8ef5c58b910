/* What a decoder holds: for the files that implement serve/decoder.h only. */
#ifndef BEAM_SERVE_DECODER_STATE_H
#define BEAM_SERVE_DECODER_STATE_H

#include "serve/decoder.h"
#include "serve/kv_cache.h"

struct beam_decoder {
    beam_model_config config;
    const beam_model_weights *weights;
    beam_expert_rule rule;
    beam_decoder_options options;
    beam_backend *be;
    beam_kv_cache cache;
    beam_moe *moe; /* [layers]; of dense layers unused */
    beam_decoder_costs costs;
    double fixed_bytes, fixed_moe_bytes; /* weights that every step reads; of mixture layers */

    /* Room for a step of `chunk` tokens, one block. */
    void *block;
    size_t block_bytes;
    beam_tensor x, in, out;         /* [chunk,D] stream, after a norm, what a part adds */
    beam_tensor inverse;            /* [chunk * (H + 1)] of norms */
    beam_tensor q_raw, q;           /* [chunk,H,Dh] before and after the norm */
    beam_tensor k_raw, k, v;        /* [chunk,G,..]; absent in latent attention */
    beam_tensor q_low_raw, q_low;   /* [chunk,Rq] latent of queries */
    beam_tensor latent_raw, latent; /* [chunk,R] */
    beam_tensor rotated;            /* [chunk,rotary] */
    beam_tensor q_wide, mixed;      /* latent: [chunk,H,R + rotary] [chunk,H,R] */
    beam_tensor attended;           /* [chunk,H,Dv] */
    beam_tensor score;              /* [threads,heads of a piece,context] */
    beam_tensor act;                /* [chunk,intermediate_size] of dense layers */
    beam_tensor rows;               /* u8: the inputs of dense layers, pointers [chunk] */
    beam_tensor cosine, sine;       /* [context,rotary / 2] */
    beam_tensor position;           /* i32 [chunk] */
    beam_tensor expert, weight;     /* i32 [moe layers,chunk,K], f32 [chunk,K] */
    beam_tensor candidate, gain;    /* [chunk,K] */
    beam_tensor head_x, head_in;    /* [logits,D] */
    beam_tensor logits;             /* [logits,V] */
    beam_tensor moe_room;           /* u8 */
    beam_tensor seen;               /* u8 [E] */
    beam_tensor readers;            /* i32 [E] of lone pairs */

    const beam_decoder_token *token; /* of the step */
    int64_t n;
};

/* y[n,rows] = x[n,width] w^T (+ bias) for the step's tokens. */
void beam_decoder_linear(beam_decoder *d, beam_tensor y, const beam_param *w, const beam_param *bias,
                         beam_tensor x);

/* d->attended from d->in, for one layer; the step's keys and values go into the cache first. */
void beam_decoder_attend(beam_decoder *d, int64_t layer);

enum { BEAM_DECODER_HEADS = 8 }; /* that one thread takes at a time: they share keys */

#endif
