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

static beam_tensor value_of(const beam_param *p)
{
    return p ? p->value : (beam_tensor){0};
}

static void finish_heads(beam_decoder *d, const beam_heads *heads, int kinds, double epsilon)
{
    const beam_heads_rule rule = {
        .epsilon = epsilon, .limit = d->config.qkv_limit, .cosine = d->cosine, .sine = d->sine};
    beam_finish_heads(d->be, heads, kinds, rule, d->at);
}

static void attend_grouped(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    const beam_cache cache = d->cache.layer[layer];
    const beam_thin_map map[] = {beam_decoder_map(d, d->q, w->q, w->q_bias),
                                 beam_decoder_map(d, d->k, w->k, w->k_bias),
                                 beam_decoder_map(d, d->v, w->v, w->v_bias)};
    const beam_heads heads[] = {
        {.x = front(d, d->q), .norm = value_of(w->q_norm), .rotates = true},
        {.x = front(d, d->k), .norm = value_of(w->k_norm), .rotates = true, .cache = cache.key},
        {.x = front(d, d->v), .cache = cache.value}};
    beam_decoder_multiply(d, map, 3, d->in);
    finish_heads(d, heads, 3, d->config.rms_norm_eps);
    attend(d, layer, d->q, d->attended);
}

static void attend_latent(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    const beam_thin_map q = beam_decoder_map(d, d->q, w->q, NULL);
    const beam_thin_map map[] = {beam_decoder_map(d, d->latent, w->kv_down, NULL),
                                 w->q_down ? beam_decoder_map(d, d->q_low, w->q_down, NULL) : q};
    const beam_heads heads[] = {{.x = front(d, d->q), .rotates = true},
                                {.x = front(d, d->latent),
                                 .norm = w->kv_down_norm->value,
                                 .rotates = true,
                                 .cache = d->cache.layer[layer].key}};
    beam_decoder_multiply(d, map, 2, d->in);
    if (w->q_down) {
        const beam_tensor low = front(d, d->q_low);
        beam_add_rmsnorm(d->be, low, low, (beam_tensor){0}, w->q_down_norm->value, beam_latent_epsilon());
        beam_decoder_multiply(d, &q, 1, d->q_low);
    }
    finish_heads(d, heads, 2, beam_latent_epsilon());
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
