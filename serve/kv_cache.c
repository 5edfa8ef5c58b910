#include "serve/kv_cache.h"

#include <stdlib.h>

static int64_t positions_of(const beam_model_config *c, int64_t layer, int64_t context, int64_t chunk)
{
    const int64_t window = c->windowed[layer] ? c->window : 0;
    return window > 0 && window + chunk - 1 < context ? window + chunk - 1 : context;
}

static void lay_out(beam_cache *l, const beam_model_config *c, int64_t layer, int64_t sequences,
                    int64_t context, int64_t chunk, beam_arena *a)
{
    const bool latent = c->kv_rank > 0;
    const int64_t positions = positions_of(c, layer, context, chunk), groups = latent ? 1 : c->kv_heads;
    const int64_t width = latent ? c->kv_rank + c->rotary_dim : c->head_dim;
    l->key = beam_push(a, BEAM_F32, BEAM_DIMS(sequences, groups, positions, width));
    l->value =
        latent ? l->key : beam_push(a, BEAM_F32, BEAM_DIMS(sequences, groups, positions, c->value_dim));
}

size_t beam_kv_cache_measure(const beam_model_config *c, int64_t sequences, int64_t context, int64_t chunk)
{
    beam_arena a = beam_arena_measure();
    beam_cache layer;
    for (int64_t i = 0; i < c->layers; i++)
        lay_out(&layer, c, i, sequences, context, chunk, &a);
    return a.peak;
}

beam_status beam_kv_cache_open(beam_kv_cache *cache, const beam_model_config *c, int64_t sequences,
                               int64_t context, int64_t chunk, beam_backend *be)
{
    *cache = (beam_kv_cache){.layer = calloc((size_t)c->layers, sizeof *cache->layer),
                             .bytes = beam_kv_cache_measure(c, sequences, context, chunk)};
    if (!cache->layer)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of layers");
    cache->block = beam_alloc(be, cache->bytes, "keys and values");
    if (be->status)
        return be->status;
    beam_arena a = beam_arena_over(cache->block, cache->bytes);
    for (int64_t i = 0; i < c->layers; i++)
        lay_out(&cache->layer[i], c, i, sequences, context, chunk, &a);
    return BEAM_OK;
}

void beam_kv_cache_close(beam_kv_cache *cache, beam_backend *be)
{
    beam_free(be, cache->block);
    free(cache->layer);
    *cache = (beam_kv_cache){0};
}

double beam_kv_row_bytes(beam_cache layer)
{
    const bool latent = layer.value.data == layer.key.data;
    const int64_t width = layer.key.dim[3] + (latent ? 0 : layer.value.dim[3]);
    return 4.0 * (double)(layer.key.dim[1] * width);
}
