/* Keys and values of the tokens that sequences have so far.
 *
 * Every layer has, for each sequence, a block of positions: as many as the context, or, in a layer with a
 * window, a ring that holds the window and the tokens of one step. Grouped-query attention keeps keys and
 * values of every group; latent attention keeps the latent and the shared part of the keys, from which both
 * follow. All are float, in the backend's memory. Bytes of a layer:
 *     4 * sequences * positions * G * (Dh + Dv), or 4 * sequences * positions * (R + rotary) */
#ifndef BEAM_SERVE_KV_CACHE_H
#define BEAM_SERVE_KV_CACHE_H

#include "data/model_config.h"
#include "kernels/decode/ops.h"
#include "kernels/ops.h"

typedef struct {
    beam_cache *layer; /* [layers] */
    size_t bytes;
    void *block;
} beam_kv_cache;

/* For `sequences` of at most `context` tokens, of which a step adds at most `chunk`. */
beam_status beam_kv_cache_open(beam_kv_cache *cache, const beam_model_config *c, int64_t sequences,
                               int64_t context, int64_t chunk, beam_backend *be);
void beam_kv_cache_close(beam_kv_cache *cache, beam_backend *be);

/* Bytes that opening one would allocate. */
size_t beam_kv_cache_measure(const beam_model_config *c, int64_t sequences, int64_t context, int64_t chunk);

/* Bytes of one position of a layer. */
double beam_kv_row_bytes(beam_cache layer);

#endif
