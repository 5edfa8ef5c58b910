#include "serve/decoder.h"

#include <math.h>
#include <stdlib.h>

#include "core/clock.h"
#include "model/rope.h"
#include "serve/decoder_state.h"

enum { INPUTS = 4 }; /* numbers of a token in `input` */

static bool on_gpu(const beam_decoder *d)
{
    return beam_decodes_on_gpu(d->be);
}

/* Candidates of all tokens of the largest step in all layers. */
static int64_t expert_slots(const beam_decoder *d)
{
    return beam_moe_layers(&d->config) * d->options.chunk * d->config.top_k;
}

static void lay_out_attention(beam_decoder *d, beam_arena *a)
{
    const beam_model_config *c = &d->config;
    const int64_t n = d->options.chunk, h = c->heads, g = c->kv_heads, r = c->kv_rank;
    const bool latent = r > 0;
    d->q = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, c->head_dim));
    d->attended = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, c->value_dim));
    const int64_t room = beam_cache_room(d->be, n, h, latent ? r : c->value_dim, d->options.context);
    d->attention_room = beam_push(a, BEAM_F32, BEAM_DIMS(room));
    if (latent) {
        d->latent = beam_push(a, BEAM_F32, BEAM_DIMS(n, 1, r + c->rotary_dim));
        d->q_wide = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, r + c->rotary_dim));
        d->mixed = beam_push(a, BEAM_F32, BEAM_DIMS(n, h, r));
        d->q_low = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->query_rank));
    } else {
        d->k = beam_push(a, BEAM_F32, BEAM_DIMS(n, g, c->head_dim));
        d->v = beam_push(a, BEAM_F32, BEAM_DIMS(n, g, c->value_dim));
    }
}

static beam_moe moe_of(const beam_decoder *d, int64_t layer, beam_expert_rule rule)
{
    beam_moe m = beam_moe_of(&d->config, &d->weights->layer[layer].mlp, rule, d->be->threads);
    m.device = on_gpu(d) ? BEAM_MOE_CUDA : BEAM_MOE_CPU;
    return m;
}

/* The largest workspace that a mixture layer asks for, under any rule: masks need most. */
static size_t moe_bytes(const beam_decoder *d)
{
    beam_expert_rule rule = d->rule;
    rule.masks = d->config.mask.present;
    size_t most = 0;
    for (int64_t i = 0; i < d->config.layers; i++) {
        if (!d->config.moe_layer[i])
            continue;
        const beam_moe m = moe_of(d, i, rule);
        const size_t bytes = beam_moe_workspace(&m, d->options.chunk);
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
    lay_out_attention(d, a);
    d->gate_up = beam_push(a, BEAM_F32, BEAM_DIMS(n, 2 * c->intermediate_size));
    d->act = beam_push(a, BEAM_F32, BEAM_DIMS(n, c->intermediate_size));
    d->cosine = beam_push(a, BEAM_F32, BEAM_DIMS(context, half));
    d->sine = beam_push(a, BEAM_F32, BEAM_DIMS(context, half));
    d->input = beam_push(a, BEAM_I32, BEAM_DIMS(INPUTS * n));
    d->expert = beam_push(a, BEAM_I32, BEAM_DIMS(expert_slots(d)));
    d->weight = beam_push(a, BEAM_F32, BEAM_DIMS(n, k));
    d->candidate = beam_push(a, BEAM_I32, BEAM_DIMS(n, k));
    d->gain = beam_push(a, BEAM_F32, BEAM_DIMS(n, k));
    d->head_in = beam_push(a, BEAM_F32, BEAM_DIMS(d->options.logits, width));
    d->logits = beam_push(a, BEAM_F32, BEAM_DIMS(d->options.logits, c->vocab_size));
    d->moe_room = beam_push(a, BEAM_U8, BEAM_DIMS((int64_t)moe_bytes(d)));
}

/* The rule is part of what was recorded. */
static void forget_recordings(beam_decoder *d)
{
    for (int64_t i = 0; d->recording && d->came && i <= d->options.logits; i++) {
        beam_forget(d->be, d->recording[i]);
        d->recording[i] = NULL;
        d->came[i] = false;
    }
}

void beam_decoder_set_rule(beam_decoder *d, beam_expert_rule rule)
{
    BEAM_ASSERT(rule.form == BEAM_MASK_HARD && (!rule.masks || d->config.mask.present));
    forget_recordings(d);
    d->rule = rule;
    for (int64_t i = 0; i < d->config.layers; i++)
        if (d->config.moe_layer[i])
            d->moe[i] = moe_of(d, i, rule);
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
            return BEAM_FAIL(BEAM_EMODEL, "cannot decode this model%s: %s",
                             on_gpu(d) ? " on a GPU (--backend cpu may)" : "", beam_moe_error(code));
    }
    const int64_t most = d->be->ops->decode->most_columns;
    const int64_t width = d->config.kv_rank > 0 ? d->config.kv_rank : d->config.value_dim;
    if (most > 0 && width > most)
        return BEAM_FAIL(BEAM_EDEVICE,
                         "cuda: values of %lld numbers, at most %lld can be decoded; use --backend cpu",
                         (long long)width, (long long)most);
    return BEAM_OK;
}

static size_t logit_bytes(const beam_decoder *d)
{
    return (size_t)(d->options.logits * d->config.vocab_size) * sizeof *d->host_logits;
}

static beam_status open_host(beam_decoder *d)
{
    const beam_decoder_options *o = &d->options;
    const size_t experts = (size_t)d->config.experts + 1; /* dense models have none */
    d->moe = calloc((size_t)d->config.layers, sizeof *d->moe);
    d->seen = malloc(experts);
    d->readers = malloc(experts * sizeof *d->readers);
    bool enough = d->moe && d->seen && d->readers;
    if (beam_can_record(d->be)) {
        d->recording = calloc((size_t)o->logits + 1, sizeof *d->recording);
        d->came = calloc((size_t)o->logits + 1, sizeof *d->came);
        enough = enough && d->recording && d->came;
    }
    if (!enough)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the decoder");
    d->host_input = beam_alloc_host(d->be, (size_t)(INPUTS * o->chunk) * sizeof *d->host_input);
    d->host_logits = beam_alloc_host(d->be, logit_bytes(d));
    d->host_expert = beam_alloc_host(d->be, (size_t)expert_slots(d) * sizeof *d->host_expert);
    return d->be->status;
}

static beam_status upload_angles(beam_decoder *d)
{
    const size_t bytes = beam_bytes(d->cosine);
    beam_tensor cosine = d->cosine, sine = d->sine;
    cosine.data = malloc(2 * bytes + 1);
    if (!cosine.data)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the table of rotary angles");
    sine.data = (char *)cosine.data + bytes;
    beam_rope_table(cosine, sine, &d->config.rope);
    beam_upload(d->be, d->cosine, cosine.data);
    beam_upload(d->be, d->sine, sine.data);
    free(cosine.data);
    return d->be->status;
}

static beam_status open_decoder(beam_decoder *d, beam_expert_rule rule)
{
    const beam_decoder_options *o = &d->options;
    BEAM_TRY(open_host(d));
    beam_decoder_set_rule(d, rule);
    BEAM_TRY(check_layers(d));
    beam_arena a = beam_arena_measure();
    lay_out(d, &a);
    const size_t cache = beam_kv_cache_measure(&d->config, o->sequences, o->context, o->chunk);
    if (!on_gpu(d))
        BEAM_TRY(beam_require_host_memory(cache + a.peak + logit_bytes(d), "keys, values and activations"));
    beam_status status = beam_kv_cache_open(&d->cache, &d->config, o->sequences, o->context, o->chunk, d->be);
    d->block = beam_alloc(d->be, a.peak, "decoding");
    status = status ? status : d->be->status;
    if (status == BEAM_ENOMEM)
        return BEAM_FAIL(
            BEAM_ENOMEM,
            "%s: no memory for %.2f GB of keys, values and activations; take fewer sequences at a "
            "time and fewer tokens of each",
            d->be->ops->name, 1e-9 * (double)(cache + a.peak));
    BEAM_TRY(status);
    a = beam_arena_over(d->block, a.peak);
    lay_out(d, &a);
    beam_decoder_count_fixed(d);
    return upload_angles(d);
}

beam_status beam_decoder_open(beam_decoder **out, const beam_model_config *config,
                              const beam_model_weights *weights, beam_expert_rule rule,
                              const beam_decoder_options *options, beam_backend *be)
{
    BEAM_ASSERT(options->sequences > 0 && options->chunk > 0 && options->logits > 0);
    BEAM_ASSERT(options->context > 0 && options->context <= config->max_positions);
    BEAM_ASSERT(beam_can_decode(be));
    BEAM_ASSERT(!beam_decodes_on_gpu(be) || options->lone.action == BEAM_LONE_KEEP);
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
    forget_recordings(d);
    free(d->recording);
    free(d->came);
    beam_kv_cache_close(&d->cache, d->be);
    beam_free(d->be, d->block);
    beam_free_host(d->be, d->host_logits);
    beam_free_host(d->be, d->host_expert);
    beam_free_host(d->be, d->host_input);
    free(d->seen);
    free(d->readers);
    free(d->moe);
    free(d);
}

/* The tokens' numbers, for beam_decoder_run to take along. */
static void write_tokens(beam_decoder *d, const beam_decoder_token *token, int64_t n)
{
    int32_t *id = d->host_input, *sequence = id + n, *position = sequence + n, *wants = position + n;
    BEAM_ASSERT(n >= 1 && n <= d->options.chunk);
    d->n = n;
    d->wanted = 0;
    for (int64_t t = 0; t < n; t++) {
        BEAM_ASSERT(token[t].id >= 0 && token[t].id < d->config.vocab_size);
        BEAM_ASSERT(token[t].sequence >= 0 && token[t].sequence < d->options.sequences);
        BEAM_ASSERT(token[t].position >= 0 && token[t].position < d->options.context);
        id[t] = token[t].id;
        sequence[t] = token[t].sequence;
        position[t] = token[t].position;
        if (token[t].wants_logits)
            wants[d->wanted++] = (int32_t)t;
    }
    BEAM_ASSERT(d->wanted <= d->options.logits);
    d->id = beam_rows(d->input, 0, n);
    d->at.sequence = beam_rows(d->input, n, n);
    d->at.position = beam_rows(d->input, 2 * n, n);
    d->wants = beam_rows(d->input, 3 * n, d->wanted);
}

/* Steps that only decode come again and again: their launches are recorded the second time. The first time
 * loads the kernels, and may be the only one. */
static void run_step(beam_decoder *d)
{
    const bool recorded = d->recording && d->wanted == d->n && d->came[d->n];
    if (d->recording && d->wanted == d->n)
        d->came[d->n] = true;
    if (!recorded) {
        beam_decoder_run(d);
        return;
    }
    void **recording = &d->recording[d->n];
    if (!*recording) {
        beam_record(d->be);
        beam_decoder_run(d);
        *recording = beam_end_record(d->be);
    }
    beam_replay(d->be, *recording);
}

beam_status beam_decoder_step(beam_decoder *d, const beam_decoder_token *token, int64_t n)
{
    const double begin = beam_seconds();
    write_tokens(d, token, n);
    run_step(d);
    BEAM_TRY(beam_sync(d->be));
    beam_decoder_count(d, token);
    d->costs.seconds += beam_seconds() - begin;
    return BEAM_OK;
}

const float *beam_decoder_logits(const beam_decoder *d, int64_t i)
{
    BEAM_ASSERT(i >= 0 && i < d->options.logits);
    return d->host_logits + i * d->config.vocab_size;
}

const int32_t *beam_decoder_experts(const beam_decoder *d, int64_t moe_layer, int64_t token)
{
    return d->host_expert + (moe_layer * d->n + token) * d->config.top_k;
}

void beam_decoder_blank(beam_decoder *d)
{
    beam_zero(d->be, beam_view(d->cache.block, BEAM_U8, BEAM_DIMS((int64_t)d->cache.bytes)));
}

beam_decoder_costs beam_decoder_take_costs(beam_decoder *d)
{
    beam_decoder_costs costs = d->costs;
    d->costs = (beam_decoder_costs){0};
    if (on_gpu(d))
        costs.moe_seconds = NAN;
    return costs;
}
