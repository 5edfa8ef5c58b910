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
    beam_tensor x, in, out;      /* [chunk,D] stream, after a norm, what a part adds */
    beam_tensor q, k, v;         /* [chunk,H,Dh] [chunk,G,..]; k and v absent in latent attention */
    beam_tensor q_low;           /* [chunk,Rq] latent of queries */
    beam_tensor latent;          /* [chunk,1,R + rotary] of keys, and what all their heads share */
    beam_tensor q_wide, mixed;   /* latent: [chunk,H,R + rotary] [chunk,H,R] */
    beam_tensor attended;        /* [chunk,H,Dv] */
    beam_tensor attention_room;  /* beam_cache_room */
    beam_tensor gate_up, act;    /* [chunk,2I] [chunk,I] of dense layers, I = intermediate_size */
    beam_tensor cosine, sine;    /* [context,rotary / 2] */
    beam_tensor input;           /* i32 [4 * chunk]: see below */
    beam_tensor expert, weight;  /* i32 [moe layers * chunk * K], f32 [chunk,K] */
    beam_tensor candidate, gain; /* [chunk,K] */
    beam_tensor head_in;         /* [logits,D] */
    beam_tensor logits;          /* [logits,V] */
    beam_tensor moe_room;        /* u8 */

    /* The step: n tokens, of which `wanted` want logits. `input` has their ids [n], sequences [n], positions
     * [n], and the numbers of those that want logits [wanted]. `expert` has [moe layers,n,K]. */
    int64_t n, wanted;
    beam_tensor id, wants;
    beam_places at;

    /* On the host, as transfers reach it. */
    int32_t *host_input;  /* [4 * chunk] */
    float *host_logits;   /* [logits,V] */
    int32_t *host_expert; /* [moe layers * chunk * K] */
    uint8_t *seen;        /* [E] */
    int32_t *readers;     /* [E] of lone pairs */

    /* [logits + 1] of steps in which so many tokens all want logits: whether there was one, and its
     * recording. */
    bool *came;
    void **recording;
};

/* Takes the step's tokens through the model, from host_input to host_logits and host_expert, without looking
 * at what is in them, so that it can be recorded. */
void beam_decoder_run(beam_decoder *d);

/* d->attended from d->in, for one layer; the step's keys and values go into the cache first. */
void beam_decoder_attend(beam_decoder *d, int64_t layer);

/* The step's rows of y [chunk,..] from all of w; bias may be NULL. */
beam_thin_map beam_decoder_map(const beam_decoder *d, beam_tensor y, const beam_param *w,
                               const beam_param *bias);

/* Such products of the step's rows of x [chunk,..]. */
void beam_decoder_multiply(beam_decoder *d, const beam_thin_map *map, int maps, beam_tensor x);

/* The first n rows of a tensor of the step. */
static inline beam_tensor beam_decoder_front(const beam_decoder *d, beam_tensor t)
{
    return beam_rows(t, 0, d->n);
}

/* Adds the step, whose results are on the host, to d->costs. */
void beam_decoder_count(beam_decoder *d, const beam_decoder_token *token);

/* What every step reads, whatever its tokens are. */
void beam_decoder_count_fixed(beam_decoder *d);

#endif
