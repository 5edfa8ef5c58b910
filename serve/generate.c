#include "serve/generate.h"

#include <stdlib.h>
#include <string.h>

/* A place among the sequences that run at a time. */
typedef struct {
    beam_generation *g; /* NULL: free */
    int64_t index;      /* of g */
    int64_t done;       /* its tokens that passed through the model */
} place;

typedef struct {
    const beam_model_config *config;
    const beam_generate_options *options;
    beam_decoder *decoder;
    beam_sampler sampler;
    beam_generation *all;
    int64_t count, next;       /* prompts, those that were started */
    place *place;              /* [sequences] */
    beam_decoder_token *token; /* [chunk] of a step */
} generator;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static beam_status start(generator *x, place *p)
{
    const beam_model_config *c = x->config;
    beam_generation *g = &x->all[x->next];
    const size_t most = (size_t)x->options->max_tokens, slots = (size_t)(beam_moe_layers(c) * c->top_k);
    g->id = malloc(most * sizeof *g->id);
    if (x->options->experts)
        g->expert = malloc(((size_t)g->prompt_tokens + most) * slots * sizeof *g->expert + 1);
    if (!g->id || (x->options->experts && !g->expert))
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu new tokens", most);
    *p = (place){.g = g, .index = x->next++};
    return BEAM_OK;
}

/* Token number i of a prompt and its continuation. */
static int32_t token_at(const beam_generation *g, int64_t i)
{
    return i < g->prompt_tokens ? g->prompt[i] : g->id[i - g->prompt_tokens];
}

/* Adds n tokens of the place to the step. */
static void add_tokens(generator *x, int64_t at, int64_t n, int64_t *tokens)
{
    const place *p = &x->place[at];
    for (int64_t i = p->done; i < p->done + n; i++)
        x->token[(*tokens)++] = (beam_decoder_token){.id = token_at(p->g, i),
                                                     .sequence = (int32_t)at,
                                                     .position = (int32_t)i,
                                                     .wants_logits = i + 1 == p->g->prompt_tokens + p->g->n};
}

/* Every sequence that is past its prompt gets its one token; prompts share the rest of the step, the first
 * ones first. */
static int64_t fill_step(generator *x)
{
    const int64_t places = x->options->sequences;
    int64_t tokens = 0, room = x->options->chunk;
    for (int64_t i = 0; i < places; i++)
        if (x->place[i].g && x->place[i].done >= x->place[i].g->prompt_tokens)
            add_tokens(x, i, 1, &tokens);
    room -= tokens;
    for (int64_t i = 0; i < places; i++) {
        const place *p = &x->place[i];
        if (!p->g || p->done >= p->g->prompt_tokens)
            continue;
        const int64_t n = least(room, p->g->prompt_tokens - p->done);
        add_tokens(x, i, n, &tokens);
        room -= n;
    }
    return tokens;
}

static void record(const generator *x, const place *p, int64_t token)
{
    const int64_t layers = beam_moe_layers(x->config), k = x->config->top_k;
    for (int64_t i = 0; i < layers; i++)
        memcpy(p->g->expert + (p->done * layers + i) * k, beam_decoder_experts(x->decoder, i, token),
               (size_t)k * sizeof *p->g->expert);
}

/* The next token of a sequence; its place becomes free with the last one. */
static beam_status extend(generator *x, place *p, int64_t logits)
{
    beam_generation *g = p->g;
    int32_t id;
    BEAM_TRY(beam_sampler_take(&x->sampler, beam_decoder_logits(x->decoder, logits), (uint64_t)p->index,
                               (uint64_t)g->n, &id));
    g->id[g->n++] = id;
    g->ended = id == x->options->eos;
    if (g->ended || g->n == x->options->max_tokens)
        p->g = NULL;
    return BEAM_OK;
}

static beam_status take_step(generator *x, int64_t tokens)
{
    int64_t logits = 0;
    for (int64_t t = 0; t < tokens; t++) {
        place *p = &x->place[x->token[t].sequence];
        if (x->options->experts)
            record(x, p, t);
        p->done++;
        if (x->token[t].wants_logits)
            BEAM_TRY(extend(x, p, logits++));
    }
    return BEAM_OK;
}

static beam_status run(generator *x)
{
    for (;;) {
        for (int64_t i = 0; i < x->options->sequences; i++)
            if (!x->place[i].g && x->next < x->count)
                BEAM_TRY(start(x, &x->place[i]));
        const int64_t tokens = fill_step(x);
        if (tokens == 0)
            return BEAM_OK;
        BEAM_TRY(beam_decoder_step(x->decoder, x->token, tokens));
        BEAM_TRY(take_step(x, tokens));
    }
}

static beam_status open_generator(generator *x, const beam_model_weights *w, beam_expert_rule rule,
                                  beam_backend *be)
{
    const beam_generate_options *o = x->options;
    int64_t longest = 0;
    for (int64_t i = 0; i < x->count; i++)
        longest = x->all[i].prompt_tokens > longest ? x->all[i].prompt_tokens : longest;
    const beam_decoder_options options = {.sequences = o->sequences,
                                          .context = least(longest + o->max_tokens, x->config->max_positions),
                                          .chunk = o->chunk,
                                          .logits = o->sequences,
                                          .lone = o->lone};
    x->place = calloc((size_t)o->sequences, sizeof *x->place);
    x->token = calloc((size_t)o->chunk, sizeof *x->token);
    if (!x->place || !x->token)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld prompts", (long long)x->count);
    BEAM_TRY(beam_sampler_open(&x->sampler, o->sampling, x->config->vocab_size));
    return beam_decoder_open(&x->decoder, x->config, w, rule, &options, be);
}

beam_status beam_generate(const beam_model_config *c, const beam_model_weights *w, beam_expert_rule rule,
                          const beam_generate_options *options, beam_backend *be, beam_generation *all,
                          int64_t count, beam_decoder_costs *costs)
{
    BEAM_ASSERT(options->sequences >= 1 && options->chunk >= options->sequences && options->max_tokens >= 1);
    generator x = {.config = c, .options = options, .all = all, .count = count};
    *costs = (beam_decoder_costs){0};
    if (count == 0)
        return BEAM_OK;
    beam_status status = open_generator(&x, w, rule, be);
    if (!status)
        status = run(&x);
    if (!status)
        *costs = beam_decoder_take_costs(x.decoder);
    beam_decoder_close(x.decoder);
    beam_sampler_close(&x.sampler);
    free(x.place);
    free(x.token);
    return status;
}

void beam_generations_free(beam_generation *all, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        free(all[i].id);
        free(all[i].expert);
        all[i].id = all[i].expert = NULL;
    }
}
