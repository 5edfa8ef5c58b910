/* Attention of a decoder's step over its cache. Latent attention never makes keys and values of old tokens:
 * queries go into the space of the latents, and the mixed latents come back from it (DeepSeek-V2,
 * arXiv:2405.04434, section 2.1.2). */
#include <omp.h>
#include <string.h>

#include "kernels/cpu/vec.h"
#include "kernels/decode/thin.h"
#include "model/attention.h"
#include "serve/decoder_state.h"

/* The first n rows of a tensor of the step. */
static beam_tensor front(const beam_decoder *d, beam_tensor t)
{
    return beam_rows(t, 0, d->n);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* One token's queries of a few heads that share keys: q and out are [heads, ..] with the given strides. */
typedef struct {
    const float *q;
    float *out, *score; /* score: [heads, context] */
    int64_t heads, q_stride, out_stride, context;
    int64_t layer, sequence, group, from, to; /* positions that it sees */
} look;

/* Positions [from, to) as at most two runs of rows that follow each other in the ring. */
static int64_t run_end(const beam_kv_layer *l, int64_t from, int64_t to)
{
    return least(to, (from / l->positions + 1) * l->positions);
}

static void make_scores(const beam_kv_cache *cache, const look *k)
{
    const beam_kv_layer *l = &cache->layer[k->layer];
    const float *q[BEAM_DECODER_HEADS];
    for (int64_t h = 0; h < k->heads; h++)
        q[h] = k->q + h * k->q_stride;
    for (int64_t s = k->from, end; s < k->to; s = end) {
        end = run_end(l, s, k->to);
        const beam_matrix keys = {.data = beam_kv_key(cache, k->layer, k->sequence, k->group, s),
                                  .type = BEAM_F32,
                                  .rows = end - s,
                                  .width = l->key_width};
        beam_thin_dots(k->score + s - k->from, k->context, keys, q, k->heads);
    }
}

/* score[n] becomes softmax(scale * score[n]). */
static void softmax(float *score, int64_t n, float scale)
{
    float top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        score[i] *= scale;
        top = score[i] > top ? score[i] : top;
    }
    for (int64_t i = 0; i < n; i++)
        sum += score[i] = beam_exp(score[i] - top);
    for (int64_t i = 0; i < n; i++)
        score[i] /= sum;
}

static void mix_values(const beam_kv_cache *cache, const look *k)
{
    enum { BLOCK = 64 }; /* rows that stay in the nearest cache while all heads use them */
    const beam_kv_layer *l = &cache->layer[k->layer];
    for (int64_t h = 0; h < k->heads; h++)
        memset(k->out + h * k->out_stride, 0, (size_t)l->value_width * sizeof *k->out);
    for (int64_t s = k->from, end; s < k->to; s = end) {
        end = least(run_end(l, s, k->to), s + BLOCK);
        const beam_matrix values = {.data = beam_kv_value(cache, k->layer, k->sequence, k->group, s),
                                    .type = BEAM_F32,
                                    .rows = end - s,
                                    .width = l->value_width};
        for (int64_t h = 0; h < k->heads; h++)
            beam_thin_combine(k->out + h * k->out_stride, values, l->value_stride,
                              k->score + h * k->context + s - k->from);
    }
}

/* out[n,H,Wv] from q[n,H,Wk] over the cache of a layer. Pieces of work: a token's heads of a group, a few at
 * a time. */
static void attend(beam_decoder *d, int64_t layer, beam_tensor q, beam_tensor out)
{
    const int64_t heads = d->config.heads, groups = d->cache.groups, share = heads / groups;
    const int64_t parts = (share + BEAM_DECODER_HEADS - 1) / BEAM_DECODER_HEADS;
    const int64_t window = d->weights->layer[layer].attention.window;
    const float scale = (float)d->config.score_scale;
#pragma omp parallel for num_threads(d->be->threads) schedule(dynamic)
    for (int64_t piece = 0; piece < d->n * groups * parts; piece++) {
        const int64_t t = piece / (groups * parts), group = piece / parts % groups;
        const int64_t first = piece % parts * BEAM_DECODER_HEADS, head = group * share + first;
        const int64_t to = d->token[t].position + 1;
        const look k = {
            .q = (const float *)q.data + (t * heads + head) * q.dim[2],
            .out = (float *)out.data + (t * heads + head) * out.dim[2],
            .score = (float *)d->score.data + omp_get_thread_num() * d->score.dim[1] * d->score.dim[2],
            .heads = least(BEAM_DECODER_HEADS, share - first),
            .q_stride = q.dim[2],
            .out_stride = out.dim[2],
            .context = d->score.dim[2],
            .layer = layer,
            .sequence = d->token[t].sequence,
            .group = group,
            .from = window > 0 && to > window ? to - window : 0,
            .to = to,
        };
        make_scores(&d->cache, &k);
        for (int64_t h = 0; h < k.heads; h++)
            softmax(k.score + h * k.context, k.to - k.from, scale);
        mix_values(&d->cache, &k);
    }
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
    beam_rope(d->be, to, d->cosine, d->sine, front(d, d->position), false);
}

static void store_grouped(beam_decoder *d, int64_t layer)
{
    const int64_t groups = d->cache.groups, wk = d->config.head_dim, wv = d->config.value_dim;
    for (int64_t t = 0; t < d->n; t++)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t at = d->token[t].position, sequence = d->token[t].sequence;
            memcpy(beam_kv_key(&d->cache, layer, sequence, g, at),
                   (const float *)d->k.data + (t * groups + g) * wk, (size_t)wk * sizeof(float));
            memcpy(beam_kv_value(&d->cache, layer, sequence, g, at),
                   (const float *)d->v.data + (t * groups + g) * wv, (size_t)wv * sizeof(float));
        }
}

static void attend_grouped(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    make_heads(d, d->q_raw, d->q, w->q, w->q_bias, w->q_norm);
    make_heads(d, d->k_raw, d->k, w->k, w->k_bias, w->k_norm);
    beam_decoder_linear(d, beam_flat_heads(front(d, d->v)), w->v, w->v_bias, d->in);
    if (d->config.qkv_limit > 0)
        beam_clip(d->be, front(d, d->v), d->config.qkv_limit);
    store_grouped(d, layer);
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
    beam_rope(d->be, front(d, d->q), d->cosine, d->sine, front(d, d->position), false);
}

/* Latents and shared parts of the keys, into the cache. */
static void store_latent(beam_decoder *d, const beam_attention_weights *w, int64_t layer)
{
    const int64_t rank = d->config.kv_rank, rotary = d->config.rotary_dim;
    const beam_matrix down = beam_matrix_of(w->kv_down->value);
    const float *x = d->in.data;
    beam_thin_product(d->be->threads, d->latent_raw.data, rank, beam_matrix_rows(down, 0, rank), x,
                      d->config.hidden_size, d->n);
    beam_thin_product(d->be->threads, d->rotated.data, rotary, beam_matrix_rows(down, rank, rotary), x,
                      d->config.hidden_size, d->n);
    compress(d, d->latent_raw, d->latent, w->kv_down_norm);
    beam_rope(d->be, beam_reshape(front(d, d->rotated), BEAM_DIMS(d->n, 1, rotary)), d->cosine, d->sine,
              front(d, d->position), false);
    for (int64_t t = 0; t < d->n; t++) {
        float *row = beam_kv_key(&d->cache, layer, d->token[t].sequence, 0, d->token[t].position);
        memcpy(row, (const float *)d->latent.data + t * rank, (size_t)rank * sizeof *row);
        memcpy(row + rank, (const float *)d->rotated.data + t * rotary, (size_t)rotary * sizeof *row);
    }
}

/* q_wide[n,H,R + rotary]: the own part of each query through the keys' map, then its rotary part. */
static void widen_queries(beam_decoder *d, const beam_attention_weights *w)
{
    const beam_model_config *c = &d->config;
    const int64_t heads = c->heads, own = c->head_dim - c->rotary_dim, wide = c->kv_rank + c->rotary_dim;
    const beam_matrix up = beam_matrix_of(w->kv_up->value);
#pragma omp parallel for num_threads(d->be->threads) schedule(dynamic)
    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < d->n; t++) {
            const float *q = (const float *)d->q.data + (t * heads + h) * c->head_dim;
            float *to = (float *)d->q_wide.data + (t * heads + h) * wide;
            memset(to, 0, (size_t)c->kv_rank * sizeof *to);
            beam_thin_combine(to, beam_matrix_rows(up, h * own, own), up.width, q);
            memcpy(to + c->kv_rank, q + own, (size_t)c->rotary_dim * sizeof *to);
        }
}

/* attended[n,H,Dv] from the mixed latents. */
static void make_values(beam_decoder *d, const beam_attention_weights *w)
{
    const beam_model_config *c = &d->config;
    const int64_t heads = c->heads, own = c->head_dim - c->rotary_dim, width = c->value_dim;
    const beam_matrix up = beam_matrix_of(w->kv_up->value);
#pragma omp parallel for num_threads(d->be->threads) schedule(dynamic)
    for (int64_t h = 0; h < heads; h++) {
        const beam_matrix rows = beam_matrix_rows(up, heads * own + h * width, width);
        for (int64_t t = 0; t < d->n; t += BEAM_THIN_TOKENS) {
            const int64_t n = least(BEAM_THIN_TOKENS, d->n - t);
            const float *in[BEAM_THIN_TOKENS];
            for (int64_t i = 0; i < n; i++)
                in[i] = (const float *)d->mixed.data + ((t + i) * heads + h) * c->kv_rank;
            beam_thin_dots((float *)d->attended.data + (t * heads + h) * width, heads * width, rows, in, n);
        }
    }
}

static void attend_latent(beam_decoder *d, int64_t layer)
{
    const beam_attention_weights *w = &d->weights->layer[layer].attention;
    latent_queries(d, w);
    store_latent(d, w, layer);
    widen_queries(d, w);
    attend(d, layer, d->q_wide, d->mixed);
    make_values(d, w);
}

void beam_decoder_attend(beam_decoder *d, int64_t layer)
{
    if (d->config.kv_rank > 0)
        attend_latent(d, layer);
    else
        attend_grouped(d, layer);
}
