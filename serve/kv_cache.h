/* Keys and values of the tokens that sequences have so far.
 *
 * Every layer has, for each sequence, a block of positions: as many as the context, or, in a layer with a
 * window, a ring that holds the window and the tokens of one step. Grouped-query attention keeps keys and
 * values of every group; latent attention keeps the latent and the shared part of the keys, from which both
 * follow. All are float. Bytes of a layer:
 *     4 * sequences * positions * G * (Dh + Dv), or 4 * sequences * positions * (R + rotary) */
#ifndef BEAM_SERVE_KV_CACHE_H
#define BEAM_SERVE_KV_CACHE_H

#include "data/model_config.h"
#include "kernels/ops.h"

typedef struct {
    int64_t positions;    /* of the block or ring of a sequence */
    float *key, *value;   /* [sequences,G,positions,..]; latent: value is key */
    int64_t key_width;    /* elements of a row of key */
    int64_t value_stride; /* of a row of value, of which the first value_width count */
    int64_t value_width;
} beam_kv_layer;

typedef struct {
    int64_t sequences, groups, layers;
    beam_kv_layer *layer;
    size_t bytes;
    void *block;
} beam_kv_cache;

/* For `sequences` of at most `context` tokens, of which a step adds at most `chunk`. */
beam_status beam_kv_cache_open(beam_kv_cache *cache, const beam_model_config *c, int64_t sequences,
                               int64_t context, int64_t chunk, beam_backend *be);
void beam_kv_cache_close(beam_kv_cache *cache, beam_backend *be);

/* Bytes that opening one would allocate. */
size_t beam_kv_cache_measure(const beam_model_config *c, int64_t sequences, int64_t context, int64_t chunk);

/* Where the key, or value, of a position is or goes. */
static inline float *beam_kv_key(const beam_kv_cache *cache, int64_t layer, int64_t sequence, int64_t group,
                                 int64_t position)
{
    const beam_kv_layer *l = &cache->layer[layer];
    const int64_t block = (sequence * cache->groups + group) * l->positions;
    return l->key + (block + position % l->positions) * l->key_width;
}

static inline float *beam_kv_value(const beam_kv_cache *cache, int64_t layer, int64_t sequence, int64_t group,
                                   int64_t position)
{
    const beam_kv_layer *l = &cache->layer[layer];
    const int64_t block = (sequence * cache->groups + group) * l->positions;
    return l->value + (block + position % l->positions) * l->value_stride;
}

#endif
