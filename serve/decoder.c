#include "serve/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kernels/decode/experts.h"
#include "model/rope.h"
#include "serve/decoder_state.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void lay_out_attention(beam_decoder *d, beam_arena *a)
{
    const beam_model_config *c = &d->config;
    const int64_t n = d->options.chunk, h = c->heads, g = c->kv_heads, r = c->kv_rank;
    const bool latent = r > 0, norm = c->qk_norm != BEAM_QK_NORM_NONE;
    d->q = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, c->head_dim));
    d->q_raw = norm ? beam_push(a, BEAM_F32, d->q.ndim, d->q.dim) : d->q;
    d->attended = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, c->value_dim));
    d->score = beam_push(a, BEAM_F32, BEAM_DIMS(d->be->threads, BEAM_DECODER_HEADS, d->options.context));
    if (latent) {
        d->latent_raw = beam_push(a, BEAM_F32, BEAM_DIMS(n, r));
        d->latent = beam_push(a, BEAM_F32, BEAM_DIMS(n, r));
        d->rotated = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->rotary_dim));
        d->q_wide = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, r + c->rotary_dim));
        d->mixed = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, r));
        d->q_low_raw = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->query_rank));
        d->q_low = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->query_rank));
    } else {
        d->k = beam_push(a, BEAM_F32, BEAM_DIMS(n, g, c->head_dim));
        d->k_raw = norm ? beam_push(a, BEAM_F32, d->k.ndim, d->k.dim) : d->k;
        d->v = beam_push(a, BEAM_F32, BEAM_DIMS(n, g, c->value_dim));
    }
}

/* The largest workspace that a mixture layer asks for. */
static size_t moe_bytes(const beam_decoder *d)
{
    size_t most = 0;
    for (int64_t i = 0; i < d->config.layers; i++) {
        const size_t bytes = d->config.moe_layer[i] ? beam_moe_workspace(&d->moe[i], d->options.chunk) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

static void lay_out(beam_decoder *d, beam_arena *a)
{
    const beam_model_config *c = &d->config;
    const int64_t n = d->options.chunk, width = c->hidden_size, k = c->top_k;
    const int64_t half = c->rotary_dim / 2, context = d->options.context;
    d->x = beam_push(a, BEAM_F32, BEAM_DIMS(n, width));
    d->in = beam_push(a, BEAM_F32, BEAM_DIMS(n, width));
    d->out = beam_push(a, BEAM_F32, BEAM_DIMS(n, width));
    d->inverse = beam_push(a, BEAM_F32, BEAM_DIMS(larger(n * c->heads, d->options.logits)));
    lay_out_attention(d, a);
    d->act = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->intermediate_size));
    d->cosine = beam_push(a, BEAM_F32, BEAM_DIMS(context, half));
    d->sine = beam_push(a, BEAM_F32, BEAM_DIMS(context, half));
    d->position = beam_push(a, BEAM_I32, BEAM_DIMS(n));
    d->expert = beam_push(a, BEAM_I32, BEAM_DIMS(beam_moe_layers(c), n, k));
    d->weight = beam_push(a, BEAM_F32, BEAM_DIMS(n, k));
    d->candidate = beam_push(a, BEAM_I32, BEAM_DIMS(n, k));
    d->gain = beam_push(a, BEAM_F32, BEAM_DIMS(n, k));
    d->head_x = beam_push(a, BEAM_F32, BEAM_DIMS(d->options.logits, width));
    d->head_in = beam_push(a, BEAM_F32, BEAM_DIMS(d->options.logits, width));
    d->logits = beam_push(a, BEAM_F32, BEAM_DIMS(d->options.logits, c->vocab_size));
    d->moe_room = beam_push(a, BEAM_U8, BEAM_DIMS((int64_t)moe_bytes(d)));
    d->rows = beam_push(a, BEAM_U8, BEAM_DIMS(n * (int64_t)sizeof(float *)));
    d->seen = beam_push(a, BEAM_U8, BEAM_DIMS(c->experts));
    d->readers = beam_push(a, BEAM_I32, BEAM_DIMS(c->experts));
}

static bool is_expert(const beam_param *p)
{
    return strstr(p->name, ".mlp.experts.") != NULL;
}

/* What a step reads whatever its tokens are. The embedding's rows count only where it is the head too. */
static void count_bytes(beam_decoder *d)
{
    const beam_model_weights *w = d->weights;
    for (int i = 0; i < w->params.n; i++) {
        const beam_param *p = &w->params.at[i];
        if (is_expert(p) || (p == w->embed && w->embed != w->head))
            continue;
        d->fixed_bytes += (double)beam_bytes(p->value);
        int layer = 0;
        if (strstr(p->name, ".mlp.") && sscanf(p->name, "model.layers.%d.", &layer) == 1 &&
            d->config.moe_layer[layer])
            d->fixed_moe_bytes += (double)beam_bytes(p->value);
    }
}

void beam_decoder_set_rule(beam_decoder *d, beam_expert_rule rule)
{
    BEAM_ASSERT(rule.form == BEAM_MASK_HARD && (!rule.masks || d->config.mask.present));
    d->rule = rule;
    for (int64_t i = 0; i < d->config.layers; i++)
        if (d->config.moe_layer[i])
            d->moe[i] = beam_moe_of(&d->config, &d->weights->layer[i].mlp, rule, d->be->threads);
}

beam_expert_rule beam_decoder_rule(const beam_model_config *c)
{
    return (beam_expert_rule){.masks = c->mask.present,
                              .form = BEAM_MASK_HARD,
                              .cutoff = log(c->mask.threshold / (1 - c->mask.threshold)),
                              .temperature = 1,
                              .prune = beam_no_pruning(c)};
}

static beam_status check_layers(const beam_decoder *d)
{
    for (int64_t i = 0; i < d->config.layers; i++) {
        const int code = d->config.moe_layer[i] ? beam_moe_check(&d->moe[i]) : BEAM_MOE_OK;
        if (code)
            return BEAM_FAIL(BEAM_EMODEL, "cannot decode this model: %s", beam_moe_error(code));
    }
    return BEAM_OK;
}

static beam_status open_decoder(beam_decoder *d, beam_expert_rule rule)
{
    const beam_decoder_options *o = &d->options;
    d->moe = calloc((size_t)d->config.layers, sizeof *d->moe);
    if (!d->moe)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the decoder");
    beam_decoder_set_rule(d, rule);
    BEAM_TRY(check_layers(d));
    beam_arena a = beam_arena_measure();
    lay_out(d, &a);
    d->block_bytes = a.peak;
    const size_t cache = beam_kv_cache_measure(&d->config, o->sequences, o->context, o->chunk);
    BEAM_TRY(beam_require_host_memory(cache + a.peak, "keys, values and activations"));
    BEAM_TRY(beam_kv_cache_open(&d->cache, &d->config, o->sequences, o->context, o->chunk, d->be));
    d->block = beam_alloc(d->be, a.peak, "decoding");
    BEAM_TRY(d->be->status);
    a = beam_arena_over(d->block, a.peak);
    lay_out(d, &a);
    beam_rope_table(d->cosine, d->sine, &d->config.rope);
    count_bytes(d);
    return BEAM_OK;
}

beam_status beam_decoder_open(beam_decoder **out, const beam_model_config *config,
                              const beam_model_weights *weights, beam_expert_rule rule,
                              const beam_decoder_options *options, beam_backend *be)
{
    BEAM_ASSERT(options->sequences > 0 && options->chunk > 0 && options->logits > 0);
    BEAM_ASSERT(options->context > 0 && options->context <= config->max_positions);
    *out = NULL;
    beam_decoder *d = calloc(1, sizeof *d);
    if (!d)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the decoder");
    *d = (beam_decoder){.config = *config, .weights = weights, .options = *options, .be = be};
    const beam_status status = open_decoder(d, rule);
    if (status) {
        beam_decoder_close(d);
        return status;
    }
    *out = d;
    return BEAM_OK;
}

void beam_decoder_close(beam_decoder *d)
{
    if (!d)
        return;
    beam_kv_cache_close(&d->cache, d->be);
    beam_free(d->be, d->block);
    free(d->moe);
    free(d);
}

void beam_decoder_linear(beam_decoder *d, beam_tensor y, const beam_param *w, const beam_param *bias,
                         beam_tensor x)
{
    const beam_matrix m = beam_matrix_of(w->value);
    beam_thin_product(d->be->threads, y.data, m.rows, m, x.data, m.width, d->n);
    if (bias)
        beam_add_bias(d->be, y, bias->value);
}

static beam_tensor front(const beam_decoder *d, beam_tensor t)
{
    return beam_rows(t, 0, d->n);
}

static void norm(beam_decoder *d, const beam_param *weight)
{
    beam_rmsnorm(d->be, front(d, d->in), beam_rows(d->inverse, 0, d->n), front(d, d->x), weight->value,
                 d->config.rms_norm_eps);
}

/* d->out = mlp(d->in) of a dense layer. */
static void run_dense(beam_decoder *d, const beam_mlp_weights *w)
{
    beam_expert_work work = {.gate_up = beam_matrix_of(w->gate_up->value),
                             .down = beam_matrix_of(w->down->value),
                             .tokens = d->n,
                             .x = d->rows.data,
                             .act = d->act.data,
                             .out = d->out.data};
    for (int64_t t = 0; t < d->n; t++)
        work.x[t] = (const float *)d->in.data + t * work.gate_up.width;
    beam_experts_run(d->be->threads, &work, 1);
}

/* Kept pairs and different experts of a layer. */
static void count_experts(beam_decoder *d, const int32_t *expert, const beam_mlp_weights *w)
{
    uint8_t *seen = d->seen.data;
    int64_t distinct = 0;
    memset(seen, 0, (size_t)d->config.experts);
    for (int64_t i = 0; i < d->n * d->config.top_k; i++) {
        if (expert[i] < 0)
            continue;
        d->costs.kept++;
        distinct += !seen[expert[i]];
        seen[expert[i]] = 1;
    }
    const size_t all = beam_bytes(w->gate_up->value) + beam_bytes(w->down->value);
    d->costs.distinct += distinct;
    d->costs.moe_bytes += (double)distinct * (double)all / (double)d->config.experts;
}

/* d->out = mixture(d->in). */
static void run_mixture(beam_decoder *d, int64_t layer, int64_t index)
{
    const double begin = beam_seconds();
    const beam_moe *m = &d->moe[layer];
    const int64_t slots = d->options.chunk * d->config.top_k;
    const beam_moe_pairs pairs = {.id = (int32_t *)d->expert.data + index * slots,
                                  .weight = d->weight.data,
                                  .candidate = d->candidate.data,
                                  .gain = d->gain.data};
    const size_t bytes = beam_bytes(d->moe_room);
    int code = beam_moe_route(m, d->in.data, d->n, &pairs, d->moe_room.data, bytes, NULL);
    if (!code) {
        beam_lone_apply(&d->options.lone, &pairs, d->n, m->top_k, m->experts, d->readers.data);
        code = beam_moe_experts(m, d->in.data, d->out.data, d->n, &pairs, d->moe_room.data, bytes, NULL);
    }
    BEAM_ASSERT(code == BEAM_MOE_OK);
    d->costs.moe_seconds += beam_seconds() - begin;
    count_experts(d, pairs.id, &d->weights->layer[layer].mlp);
}

static void run_layer(beam_decoder *d, int64_t i, int64_t *moe_index)
{
    const beam_layer_weights *w = &d->weights->layer[i];
    norm(d, w->attention_norm);
    beam_decoder_attend(d, i);
    beam_decoder_linear(d, front(d, d->out), w->attention.o, w->attention.o_bias, d->attended);
    beam_add(d->be, front(d, d->x), front(d, d->out));
    norm(d, w->mlp_norm);
    if (w->mlp.router)
        run_mixture(d, i, (*moe_index)++);
    else
        run_dense(d, &w->mlp);
    beam_add(d->be, front(d, d->x), front(d, d->out));
}

static void run_head(beam_decoder *d)
{
    const beam_matrix head = beam_matrix_of(d->weights->head->value);
    const size_t row = (size_t)d->config.hidden_size * sizeof(float);
    int64_t wanted = 0;
    for (int64_t t = 0; t < d->n; t++)
        if (d->token[t].wants_logits)
            memcpy((char *)d->head_x.data + (size_t)wanted++ * row, (char *)d->x.data + (size_t)t * row, row);
    if (wanted == 0)
        return;
    beam_rmsnorm(d->be, beam_rows(d->head_in, 0, wanted), beam_rows(d->inverse, 0, wanted),
                 beam_rows(d->head_x, 0, wanted), d->weights->norm->value, d->config.rms_norm_eps);
    beam_thin_product(d->be->threads, d->logits.data, head.rows, head, d->head_in.data, head.width, wanted);
}

static void check_tokens(const beam_decoder *d)
{
    int64_t wanted = 0;
    BEAM_ASSERT(d->n >= 1 && d->n <= d->options.chunk);
    for (int64_t t = 0; t < d->n; t++) {
        const beam_decoder_token *k = &d->token[t];
        BEAM_ASSERT(k->id >= 0 && k->id < d->config.vocab_size);
        BEAM_ASSERT(k->sequence >= 0 && k->sequence < d->options.sequences);
        BEAM_ASSERT(k->position >= 0 && k->position < d->options.context);
        wanted += k->wants_logits;
    }
    BEAM_ASSERT(wanted <= d->options.logits);
}

/* Keys and values that the step's tokens look at, counted once per token: sequences share none. */
static double cache_bytes(const beam_decoder *d)
{
    double bytes = 0;
    for (int64_t i = 0; i < d->config.layers; i++) {
        const beam_kv_layer *l = &d->cache.layer[i];
        const int64_t window = d->weights->layer[i].attention.window;
        const int64_t row = l->key_width + (l->value == l->key ? 0 : l->value_width);
        for (int64_t t = 0; t < d->n; t++) {
            const int64_t seen = d->token[t].position + 1;
            bytes += 4.0 * (double)(d->cache.groups * row * (window > 0 && seen > window ? window : seen));
        }
    }
    return bytes;
}

beam_status beam_decoder_step(beam_decoder *d, const beam_decoder_token *token, int64_t n)
{
    const double begin = beam_seconds(), moe_before = d->costs.moe_bytes;
    const beam_matrix embed = beam_matrix_of(d->weights->embed->value);
    d->token = token;
    d->n = n;
    check_tokens(d);
    for (int64_t t = 0; t < n; t++) {
        beam_matrix_unpack((float *)d->x.data + t * embed.width, embed, token[t].id);
        ((int32_t *)d->position.data)[t] = token[t].position;
    }
    for (int64_t i = 0, moe_index = 0; i < d->config.layers; i++)
        run_layer(d, i, &moe_index);
    run_head(d);
    d->costs.moe_bytes += d->fixed_moe_bytes;
    d->costs.bytes += d->fixed_bytes - d->fixed_moe_bytes + d->costs.moe_bytes - moe_before + cache_bytes(d);
    d->costs.tokens += n;
    d->costs.steps++;
    d->costs.seconds += beam_seconds() - begin;
    return beam_sync(d->be);
}

const float *beam_decoder_logits(const beam_decoder *d, int64_t i)
{
    BEAM_ASSERT(i >= 0 && i < d->options.logits);
    return (const float *)d->logits.data + i * d->config.vocab_size;
}

const int32_t *beam_decoder_experts(const beam_decoder *d, int64_t moe_layer, int64_t token)
{
    return (const int32_t *)d->expert.data + (moe_layer * d->options.chunk + token) * d->config.top_k;
}

void beam_decoder_blank(beam_decoder *d)
{
    beam_zero(d->be, beam_view(d->cache.block, BEAM_U8, BEAM_DIMS((int64_t)d->cache.bytes)));
}

beam_decoder_costs beam_decoder_take_costs(beam_decoder *d)
{
    const beam_decoder_costs costs = d->costs;
    d->costs = (beam_decoder_costs){0};
    return costs;
}

beam_decoder_memory beam_decoder_memory_of(const beam_decoder *d)
{
    beam_decoder_memory m = {.cache = d->cache.bytes, .work = d->block_bytes};
    for (int i = 0; i < d->weights->params.n; i++)
        m.weights += beam_bytes(d->weights->params.at[i].value);
    return m;
}
