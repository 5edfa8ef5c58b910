/* beam generate: what a model writes after prompts. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "cli/prompts.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "data/text.h"
#include "serve/generate.h"

enum { ABSENT = -1, SEQUENCES = 16, CHUNK = 256, NEW_TOKENS = 64 };

typedef struct {
    beam_model_choice choice;
    beam_prompt_source source;
    int64_t max_tokens, sequences, chunk, seed, top_k;
    double temperature, top_p, lone_share;
    const char *lone;
    bool renormalize, ignore_eos, experts, json;
} generate_options;

typedef struct {
    const generate_options *options;
    beam_opened opened;
    beam_model_weights weights;
    bool owned; /* the weights are not those of opened.model */
    beam_prompts prompts;
    int64_t max_tokens;
    beam_generation *all; /* [prompts.n] */
    beam_decoder_costs costs;
} job;

static beam_status check_options(const generate_options *g)
{
    enum { MOST = 1 << 24 };
    if (g->max_tokens != ABSENT && (g->max_tokens < 1 || g->max_tokens > MOST))
        return BEAM_FAIL(BEAM_ECONFIG, "--max-new-tokens %" PRId64 ": expected 1 to %d", g->max_tokens, MOST);
    if (g->sequences < 1 || g->sequences > 4096)
        return BEAM_FAIL(BEAM_ECONFIG, "--batch %" PRId64 ": expected 1 to 4096 prompts at a time",
                         g->sequences);
    if (g->chunk < 1 || g->chunk > 1 << 16)
        return BEAM_FAIL(BEAM_ECONFIG, "--chunk %" PRId64 ": expected 1 to 65536 tokens of a step", g->chunk);
    if (!(g->temperature >= 0) || isinf(g->temperature))
        return BEAM_FAIL(BEAM_ECONFIG, "--temperature %g: expected 0 (the most likely token) or more",
                         g->temperature);
    if (!(g->top_p > 0 && g->top_p <= 1))
        return BEAM_FAIL(BEAM_ECONFIG, "--top-p %g: expected a share above 0, at most 1", g->top_p);
    if (g->seed < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--seed %" PRId64 ": expected 0 or more", g->seed);
    if (!(g->lone_share > 0 && g->lone_share <= 1))
        return BEAM_FAIL(BEAM_ECONFIG, "--lone-share %g: expected more than 0, at most 1", g->lone_share);
    if (strcmp(g->lone, "keep") != 0 && strcmp(g->choice.backend.name, "cpu") != 0)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--lone %s: lone pairs are looked for on the processor only; use --backend cpu",
                         g->lone);
    if (g->renormalize && g->top_k == ABSENT)
        return BEAM_FAIL(BEAM_ECONFIG, "--renormalize goes with --top-k");
    if (g->top_k != ABSENT && g->choice.masks)
        return BEAM_FAIL(BEAM_ECONFIG, "--top-k prunes without masks; leave --masks out");
    return BEAM_OK;
}

/* What needs the model's configuration. Without --max-new-tokens as many as all prompts have room for. */
static beam_status check_lengths(job *x)
{
    const generate_options *g = x->options;
    const beam_model_config *c = &x->opened.config;
    if (g->top_k != ABSENT && (g->top_k < 1 || g->top_k > c->top_k))
        return BEAM_FAIL(BEAM_ECONFIG, "--top-k %" PRId64 ": %s has %" PRId64 " candidates per token",
                         g->top_k, x->opened.name, c->top_k);
    x->max_tokens = g->max_tokens == ABSENT ? NEW_TOKENS : g->max_tokens;
    for (int64_t i = 0; i < x->prompts.n; i++) {
        const int64_t room = c->max_positions + 1 - x->prompts.at[i].n; /* the last one takes no position */
        if (room < 1 || (g->max_tokens != ABSENT && room < g->max_tokens))
            return BEAM_FAIL(
                BEAM_EDATA,
                "%s: %" PRId64 " tokens and %" PRId64 " new ones, but %s has %" PRId64 " positions",
                x->prompts.at[i].where, x->prompts.at[i].n, x->max_tokens, x->opened.name, c->max_positions);
        x->max_tokens = room < x->max_tokens ? room : x->max_tokens;
    }
    return BEAM_OK;
}

static beam_expert_rule rule_of(const job *x)
{
    const generate_options *g = x->options;
    beam_expert_rule rule = beam_decoder_rule(&x->opened.config);
    rule.masks = x->opened.masks && g->top_k == ABSENT;
    if (g->top_k != ABSENT)
        rule.prune.keep = (int)g->top_k;
    if (g->renormalize)
        rule.prune.anchor = 0;
    return rule;
}

/* A folder's weights are read as they are stored; a run's, or random ones, are those of an open model. */
static beam_status load(job *x)
{
    beam_opened *o = &x->opened;
    const beam_model_choice *c = o->choice;
    if (c->model && !beam_model_source_random(c->model)) {
        char gates[BEAM_PATH_MAX + 32];
        if (c->adapter)
            BEAM_TRY(beam_adapter_path(c->adapter, gates, sizeof gates));
        BEAM_TRY(beam_backend_choice_open(&c->backend, c->threads, &o->backend));
        BEAM_TRY(beam_decoder_weights_load(&x->weights, &o->config, c->model, c->adapter ? gates : NULL,
                                           &o->backend));
        x->owned = true;
        return c->adapter
                   ? beam_adapter_check(c->adapter, c->model, &o->config, x->weights.params, &o->backend)
                   : BEAM_OK;
    }
    BEAM_TRY(beam_opened_load(o, &(beam_model_options){.scope = BEAM_SCOPE_NONE, .max_tokens = 1}));
    return beam_decoder_weights_borrow(&x->weights, o->model);
}

static beam_status generate(job *x)
{
    const generate_options *g = x->options;
    const int64_t most = x->prompts.n < g->sequences ? x->prompts.n : g->sequences;
    beam_lone_rule lone = {.share = g->lone_share};
    BEAM_TRY(beam_lone_read(g->lone, &lone.action));
    const beam_generate_options options = {
        .sequences = most,
        .chunk = g->chunk < most ? most : g->chunk,
        .max_tokens = x->max_tokens,
        .eos = g->ignore_eos ? -1 : x->opened.config.eos_token_id,
        .experts = g->experts,
        .sampling = {.temperature = g->temperature, .top_p = g->top_p, .seed = (uint64_t)g->seed},
        .lone = lone,
    };
    x->all = calloc((size_t)x->prompts.n, sizeof *x->all);
    if (!x->all)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %" PRId64 " prompts", x->prompts.n);
    for (int64_t i = 0; i < x->prompts.n; i++)
        x->all[i] = (beam_generation){.prompt = x->prompts.at[i].id, .prompt_tokens = x->prompts.at[i].n};
    return beam_generate(&x->opened.config, &x->weights, rule_of(x), &options, &x->opened.backend, x->all,
                         x->prompts.n, &x->costs);
}

/* The bytes of a byte-level model, in new memory, with U+FFFD for what is no text. */
static char *text_of(const beam_generation *g)
{
    static const char unknown[] = "\xef\xbf\xbd";
    const beam_tokenizer *t = beam_tokenizer_find("byte");
    char *bytes = malloc((size_t)g->n + 1), *text = malloc((size_t)g->n * 3 + 1);
    size_t n = 0, size = 0;
    if (!bytes || !text) {
        free(bytes);
        free(text);
        return NULL;
    }
    for (int64_t i = 0; i < g->n; i++) {
        char token[BEAM_TOKEN_BYTES];
        if (beam_tokenizer_decode(t, g->id[i], token) > 0) /* then it is one byte */
            bytes[n++] = token[0];
    }
    for (size_t i = 0, step; i < n; i += step) {
        const size_t length = bytes[i] ? beam_utf8_length(bytes + i, n - i) : 0;
        step = length > 0 ? length : 1;
        memcpy(text + size, length > 0 ? bytes + i : unknown, length > 0 ? length : 3);
        size += length > 0 ? length : 3;
    }
    text[size] = '\0';
    free(bytes);
    return text;
}

static void print_ids(FILE *to, const int32_t *id, int64_t n, const char *between)
{
    for (int64_t i = 0; i < n; i++)
        fprintf(to, "%s%" PRId32, i ? between : "", id[i]);
}

/* The kept ones of a token's candidates in every layer, or their numbers. */
static void print_experts(const beam_model_config *c, const beam_generation *g, bool ids)
{
    const int64_t layers = beam_moe_layers(c), k = c->top_k;
    for (int64_t t = 0; t < g->prompt_tokens + g->n - 1; t++) {
        fputs(t ? ",[" : "[", stdout);
        for (int64_t i = 0; i < layers; i++) {
            const int32_t *expert = g->expert + (t * layers + i) * k;
            int32_t kept[4096], n = 0;
            for (int64_t j = 0; j < k && n < 4096; j++)
                if (expert[j] >= 0)
                    kept[n++] = expert[j];
            if (!ids) {
                printf("%s%" PRId32, i ? "," : "", n);
                continue;
            }
            fputs(i ? ",[" : "[", stdout);
            print_ids(stdout, kept, n, ",");
            putchar(']');
        }
        putchar(']');
    }
}

static void print_generation(const job *x, const beam_generation *g, const char *text)
{
    beam_printer p = beam_print_open(stdout);
    beam_print_i64(&p, "prompt_tokens", g->prompt_tokens);
    beam_print_key(&p, "ids");
    putchar('[');
    print_ids(stdout, g->id, g->n, ",");
    putchar(']');
    if (text)
        beam_print_text(&p, "text", text);
    beam_print_text(&p, "finish", g->ended ? "eos" : "length");
    if (x->options->experts) {
        beam_print_key(&p, "active");
        putchar('[');
        print_experts(&x->opened.config, g, false);
        putchar(']');
        beam_print_key(&p, "experts");
        putchar('[');
        print_experts(&x->opened.config, g, true);
        putchar(']');
    }
    beam_print_close(&p);
}

static int64_t new_tokens(const job *x)
{
    int64_t n = 0;
    for (int64_t i = 0; i < x->prompts.n; i++)
        n += x->all[i].n;
    return n;
}

static double average_kept(const job *x)
{
    const int64_t layers = beam_moe_layers(&x->opened.config);
    return layers ? (double)x->costs.kept / (double)(layers * x->costs.tokens) : 0;
}

static beam_status print_results(const job *x)
{
    const bool bytes = x->opened.config.vocab_size == beam_tokenizer_find("byte")->vocab;
    beam_printer p = {0};
    if (x->options->json) {
        p = beam_print_open(stdout);
        beam_print_text(&p, "model", x->opened.name);
        beam_print_bool(&p, "masks", rule_of(x).masks);
        beam_print_f64(&p, "tokens_per_s", (double)new_tokens(x) / x->costs.seconds);
        beam_print_f64(&p, "avg_active", average_kept(x));
        beam_print_i64(&p, "top_k", x->opened.config.top_k);
        beam_print_key(&p, "outputs");
        putchar('[');
    }
    for (int64_t i = 0; i < x->prompts.n; i++) {
        char *text = bytes ? text_of(&x->all[i]) : NULL;
        if (bytes && !text)
            return BEAM_FAIL(BEAM_ENOMEM, "no memory for the text");
        if (x->options->json) {
            fputs(i ? "," : "", stdout);
            print_generation(x, &x->all[i], text);
        } else if (text) {
            puts(text);
        } else {
            print_ids(stdout, x->all[i].id, x->all[i].n, " ");
            putchar('\n');
        }
        free(text);
    }
    if (x->options->json) {
        putchar(']');
        beam_print_end(&p);
    } else {
        fprintf(stderr, "%" PRId64 " new tokens, %.1f per second; Avg-K %.2f of %" PRId64 "\n", new_tokens(x),
                (double)new_tokens(x) / x->costs.seconds, average_kept(x), x->opened.config.top_k);
    }
    if (fflush(stdout) != 0)
        return BEAM_FAIL(BEAM_EIO, "cannot write to standard output; is the disk full?");
    return BEAM_OK;
}

static beam_status run(job *x)
{
    BEAM_TRY(check_options(x->options));
    BEAM_TRY(beam_prompts_check(&x->options->source));
    BEAM_TRY(beam_opened_look(&x->opened, &x->options->choice));
    BEAM_TRY(beam_prompts_read(&x->options->source, x->opened.config.vocab_size, &x->prompts));
    BEAM_TRY(check_lengths(x));
    BEAM_TRY(load(x));
    BEAM_TRY(generate(x));
    return print_results(x);
}

static void close_job(job *x)
{
    if (x->all)
        beam_generations_free(x->all, x->prompts.n);
    free(x->all);
    beam_prompts_free(&x->prompts);
    if (x->owned)
        beam_model_weights_free(&x->weights, &x->opened.backend);
    else
        beam_model_weights_unlist(&x->weights);
    beam_opened_close(&x->opened);
}

static const char about[] =
    "Continues prompts token by token, with a cache of keys and values; experts that no token keeps are not "
    "read\n"
    "from memory. Prints the text of byte-level models, or token ids, one line per prompt; tokens per second "
    "and\n"
    "Avg-K on stderr. With --json one object: \"outputs\" has for every prompt its new \"ids\", why it "
    "ended, "
    "and\n"
    "with --experts what ran for every token but the last: \"active\" and \"experts\" as in beam score.\n\n"
    "Without --temperature the most likely token is taken. The same prompt and seed give the same tokens, "
    "beside\n"
    "whatever other prompts: number i of the prompts has its own random numbers. --lone ends this: what a\n"
    "token runs then depends on its company (beam bench batch measures what that costs).";

static const char examples[] =
    "  beam generate --model examples/tiny-moe --prompt 'It was the best of times' --max-new-tokens 100\n"
    "  beam generate --model masked --ids 1,2,3 --max-new-tokens 20 --json --experts\n"
    "  beam generate --model masked --input prompts.jsonl --temperature 0.8 --top-p 0.95 --seed 7";

beam_status beam_verb_generate(int argc, char **argv)
{
    generate_options g = {.choice = {.backend = {.name = "cpu"}},
                          .max_tokens = ABSENT,
                          .sequences = SEQUENCES,
                          .chunk = CHUNK,
                          .top_k = ABSENT,
                          .top_p = 1,
                          .lone = "keep",
                          .lone_share = 1};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &g.choice.model, "DIR", "a Hugging Face folder; bf16 weights stay bf16"},
        {"adapter", BEAM_TEXT, &g.choice.adapter, "DIR",
         "mask gates for that model: beam export --adapter-only"},
        {"run", BEAM_TEXT, &g.choice.run, "DIR", "or output_dir of beam train, or a checkpoint in it"},
        {"prompt", BEAM_TEXT, &g.source.text, "TEXT", "for byte-level models"},
        {"chat", BEAM_TEXT, &g.source.chat, "TEXT", "or a user's question, as beam preprocess writes chats"},
        {"ids", BEAM_TEXT, &g.source.ids, "1,2,3", "or a prompt's token ids"},
        {"input", BEAM_TEXT, &g.source.file, "FILE", "or JSON lines {\"ids\": [...]}"},
        {"max-new-tokens", BEAM_INT, &g.max_tokens, "N", "of each prompt (default: 64, or what fits)"},
        {"max-tokens", BEAM_INT, &g.max_tokens, "N", "the same"},
        {"temperature", BEAM_REAL, &g.temperature, "T", "0, the default: the most likely token"},
        {"top-p", BEAM_REAL, &g.top_p, "P", "draw from the most likely tokens with this share (default: 1)"},
        {"seed", BEAM_INT, &g.seed, "N", "of the random numbers (default: 0)"},
        {"masks", BEAM_TEXT, &g.choice.masks, "on|off", "as the model is, unless given"},
        {"top-k", BEAM_INT, &g.top_k, "N", "without masks, run the best N candidates"},
        {"renormalize", BEAM_FLAG, &g.renormalize, NULL, "with --top-k: their weights as much as all K's"},
        {"lone", BEAM_TEXT, &g.lone, "keep|drop|move",
         "what becomes of an expert's only reader in a step: drop it, or move it to another candidate that "
         "is "
         "read anyway (default: keep)"},
        {"lone-share", BEAM_REAL, &g.lone_share, "S", "only with less of their token's weight (default: 1)"},
        {"ignore-eos", BEAM_FLAG, &g.ignore_eos, NULL, "go on after eos_token_id"},
        {"batch", BEAM_INT, &g.sequences, "N", "prompts at a time (default: 16)"},
        {"chunk", BEAM_INT, &g.chunk, "N", "tokens of a step, prompts come in such pieces (default: 256)"},
        {"experts", BEAM_FLAG, &g.experts, NULL, "with --json: also print which experts ran"},
        BEAM_DECODE_BACKEND_OPTION(g.choice.backend),
        {"threads", BEAM_INT, &g.choice.threads, "N", "default: all cores"},
        {"json", BEAM_FLAG, &g.json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "generate (--model DIR | --run DIR) (--prompt TEXT | --chat "
                                              "TEXT | --ids 1,2,3 | --input FILE.jsonl)",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    job x = {.options = &g};
    const beam_status status = run(&x);
    close_job(&x);
    return status;
}
