/* Attention of a decoder's step over its cache. Latent attention never makes keys and values of old tokens:
 * queries go into the space of the latents, and the mixed latents come back from it (DeepSeek-V2,
 * arXiv:2405.04434, section 2.1.2). */
#include "model/attention.h"
#include "serve/decoder_state.h"

static beam_tensor front(const beam_decoder *d, beam_tensor t)
{
    return beam_decoder_front(d, t);
}

static void attend(beam_decoder *d, int64_t layer, beam_tensor q, beam_tensor out)
{
    const beam_attention_rule rule = {.scale = d->config.score_scale,
                                      .window = d->weights->layer[layer].attention.window};
    beam_cache_attention(d->be, front(d, out), front(d, q), d->cache.layer[layer], d->at, rule,
                         d->attention_room);
}

static void rotate(beam_decoder *d, beam_tensor x)
{
    beam_rope(d->be, x, d->cosine, d->sine, d->at.position, false);
}

/* Projection, norm, clipping, rotation of queries or keys. */
static void make_heads(beam_decoder *d, beam_tensor raw, beam_tensor out, const beam_param *w,
                       const beam_param *bias, const beam_param *norm)
{
    const beam_model_config *c = &d->config;
    const beam_tensor to = front(d, out), from = norm ? front(d, raw) : to;
    beam_decoder_linear(d, beam_flat_heads(from), w, bias, d->in);
    if (norm) {
        const int64_t width = norm->value.dim[0], rows = beam_count(to) / width;
        beam_rmsnorm(d->be, beam_reshape(to, BEAM_DIMS(rows, width)), beam_rows(d->inverse, 0, rows),
                     beam_reshape(from, BEAM_DIMS(rows, width)), norm->value, c->rms_norm_eps);
    }
    if (c->qkv_limit > 0)
        beam_clip(d->be, to, c->qkv_limit);
    rotate(d, to);
}

static void attend_grouped(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    const beam_cache cache = d->cache.layer[layer];
    make_heads(d, d->q_raw, d->q, w->q, w->q_bias, w->q_norm);
    make_heads(d, d->k_raw, d->k, w->k, w->k_bias, w->k_norm);
    beam_decoder_linear(d, beam_flat_heads(front(d, d->v)), w->v, w->v_bias, d->in);
    if (d->config.qkv_limit > 0)
        beam_clip(d->be, front(d, d->v), d->config.qkv_limit);
    beam_cache_put(d->be, cache.key, 0, front(d, d->k), d->at);
    beam_cache_put(d->be, cache.value, 0, front(d, d->v), d->at);
    attend(d, layer, d->q, d->attended);
}

static void compress(beam_decoder *d, beam_tensor raw, beam_tensor out, const beam_param *norm)
{
    beam_rmsnorm(d->be, front(d, out), beam_rows(d->inverse, 0, d->n), front(d, raw), norm->value,
                 beam_latent_epsilon());
}

static void latent_queries(beam_decoder *d, const beam_attention_weights *w)
{
    beam_tensor in = d->in;
    if (w->q_down) {
        beam_decoder_linear(d, front(d, d->q_low_raw), w->q_down, NULL, in);
        compress(d, d->q_low_raw, d->q_low, w->q_down_norm);
        in = d->q_low;
    }
    beam_decoder_linear(d, beam_flat_heads(front(d, d->q)), w->q, NULL, in);
    rotate(d, front(d, d->q));
}

/* Latents and shared parts of the keys, into the cache. */
static void store_latent(beam_decoder *d, const beam_attention_weights *w, int64_t layer)
{
    const int64_t rank = d->config.kv_rank, rotary = d->config.rotary_dim;
    const beam_tensor down = w->kv_down->value, in = front(d, d->in), cache = d->cache.layer[layer].key;
    const beam_tensor latent = beam_reshape(front(d, d->latent), BEAM_DIMS(d->n, 1, rank));
    const beam_tensor rotated = beam_reshape(front(d, d->rotated), BEAM_DIMS(d->n, 1, rotary));
    beam_thin_gemm(d->be, front(d, d->latent_raw), beam_rows(down, 0, rank), in);
    beam_thin_gemm(d->be, front(d, d->rotated), beam_rows(down, rank, rotary), in);
    compress(d, d->latent_raw, d->latent, w->kv_down_norm);
    rotate(d, rotated);
    beam_cache_put(d->be, cache, 0, latent, d->at);
    beam_cache_put(d->be, cache, rank, rotated, d->at);
}

static void attend_latent(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    latent_queries(d, w);
    store_latent(d, w, layer);
    beam_latent_widen(d->be, front(d, d->q_wide), front(d, d->q), w->kv_up->value);
    attend(d, layer, d->q_wide, d->mixed);
    beam_latent_narrow(d->be, front(d, d->attended), front(d, d->mixed), w->kv_up->value);
}

void beam_decoder_attend(beam_decoder *d, int64_t layer)
{
    if (d->config.kv_rank > 0)
        attend_latent(d, layer);
    else
        attend_grouped(d, layer);
}
