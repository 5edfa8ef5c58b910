/* beam bench decode: what skipped experts save when tokens are generated. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/bench.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "kernels/decode/ops.h"
#include "serve/decode_bench.h"
#include "train/source.h"

enum { MOST_RULES = 4 };

typedef struct {
    const char *model;   /* a folder or random:<config.json>; NULL: a shape of its own */
    const char *batches; /* "1,4,16,64" */
    double active;       /* Avg-K of the masks of random models */
    int64_t layers;      /* in place of the config's; 0: those */
    int64_t context, steps, threads;
    beam_backend_choice backend;
    bool json;
} asked;

typedef struct {
    const asked *options;
    const char *name[MOST_RULES];
    beam_expert_rule rule[MOST_RULES];
    int rules;
    int64_t batch[BEAM_BENCH_MOST_BATCHES];
    int batches;
    beam_model_config config;
    beam_model_weights weights;
    beam_backend be;
    double read; /* bytes per second */
    bool more;   /* a row of JSON was printed */
} bench;

/* Two mixture layers of Qwen3-30B-A3B's width with half of its experts: 1.3 GB. */
static beam_model_config built_in_shape(void)
{
    beam_model_config c = {
        .model_type = "qwen3_moe",
        .vocab_size = 32768,
        .hidden_size = 2048,
        .layers = 2,
        .heads = 32,
        .kv_heads = 4,
        .head_dim = 128,
        .moe_intermediate_size = 768,
        .experts = 64,
        .top_k = 8,
        .max_positions = 32768,
        .norm_topk_prob = true,
        .rms_norm_eps = 1e-6,
        .qk_norm = BEAM_QK_NORM_HEAD,
        .rope = {.theta = 1e6},
        .initializer_range = 0.02,
        .eos_token_id = -1,
    };
    c.moe_layer[0] = c.moe_layer[1] = 1;
    beam_model_config_complete(&c);
    return c;
}

beam_status beam_bench_batches(const char *text, int64_t *batch, int *n)
{
    *n = 0;
    for (const char *at = text;; at++) {
        char *end;
        const long value = strtol(at, &end, 10);
        if (end == at || value < 1 || value > 4096 || (*end != ',' && *end != '\0') ||
            *n == BEAM_BENCH_MOST_BATCHES)
            return BEAM_FAIL(BEAM_ECONFIG,
                             "--batch \"%.60s\": expected up to %d numbers from 1 to 4096, as in 1,4,16,64",
                             text, BEAM_BENCH_MOST_BATCHES);
        batch[(*n)++] = value;
        at = end;
        if (*at == '\0')
            return BEAM_OK;
    }
}

static bool is_folder(const bench *b)
{
    return b->options->model && !beam_model_source_random(b->options->model);
}

static beam_status set_shape(bench *b)
{
    const asked *o = b->options;
    b->config = built_in_shape();
    if (o->model)
        BEAM_TRY(beam_model_source_config(o->model, &(beam_gate_request){0}, &b->config));
    if (o->layers > 0 && (is_folder(b) || o->layers > b->config.layers))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--layers %" PRId64 ": goes with random:<config.json>, whose model has %" PRId64,
                         o->layers, b->config.layers);
    if (o->layers > 0)
        b->config.layers = o->layers;
    if (beam_moe_layers(&b->config) == 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: no layer is a mixture of experts", o->model);
    if (!is_folder(b) && !(o->active > 0 && o->active < (double)b->config.top_k))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--active %g: expected more than 0, less than top-k, which is %" PRId64, o->active,
                         b->config.top_k);
    if (o->context + o->steps + BEAM_BENCH_WARM_UP > b->config.max_positions)
        return BEAM_FAIL(BEAM_ECONFIG, "--context %" PRId64 ": the model has %" PRId64 " positions",
                         o->context, b->config.max_positions);
    if (!is_folder(b))
        b->config.mask = (beam_mask_config){.present = true, .threshold = 0.5, .bias = true};
    return BEAM_OK;
}

static void add_rule(bench *b, const char *name, beam_expert_rule rule)
{
    b->name[b->rules] = name;
    b->rule[b->rules++] = rule;
}

static void set_rules(bench *b)
{
    beam_expert_rule rule = beam_decoder_rule(&b->config);
    const beam_expert_rule masked = rule;
    rule.masks = false;
    add_rule(b, "top-k", rule);
    if (b->config.mask.present)
        add_rule(b, "masks", masked);
    rule.prune.keep = 1;
    add_rule(b, "pruned to 1", rule);
    if (b->config.top_k > 2) {
        rule.prune.keep = 2;
        add_rule(b, "pruned to 2", rule);
    }
}

/* A GPU's steps are one recording, in which no layer has a time of its own. */
static bool times_layers(const bench *b)
{
    return !beam_decodes_on_gpu(&b->be);
}

static void print_header(const bench *b)
{
    const beam_model_config *c = &b->config;
    double bytes = 0;
    for (int i = 0; i < b->weights.params.n; i++)
        bytes += (double)beam_bytes(b->weights.params.at[i].value);
    if (b->options->json) {
        printf("{\"backend\":\"%s\",\"read_gb_per_s\":%.4g,\"threads\":%d,\"context\":%" PRId64
               ",\"weights_gb\":%.4g,\"num_experts\":%" PRId64 ",\"num_experts_per_tok\":%" PRId64
               ",\"rows\":[",
               b->be.ops->name, 1e-9 * b->read, b->be.threads, b->options->context, 1e-9 * bytes, c->experts,
               c->top_k);
        return;
    }
    printf("%s, which reads memory at %.1f GB/s here", b->be.ops->name, 1e-9 * b->read);
    if (times_layers(b))
        printf(" with %d threads", b->be.threads);
    putchar('\n');
    printf("model: %" PRId64 " layers, D %" PRId64 ", %" PRId64 " experts of width %" PRId64 ", K %" PRId64
           ", vocabulary %" PRId64 ", %.2f GB; context %" PRId64 "\n\n",
           c->layers, c->hidden_size, c->experts, c->moe_intermediate_size, c->top_k, c->vocab_size,
           1e-9 * bytes, b->options->context);
    const bool layers = times_layers(b);
    printf("                                       whole model%s\n",
           layers ? "                     mixture layers" : "");
    printf("batch  experts      Avg-K  distinct   tokens/s  ms/step  x top-k%s    GB/s  of read\n",
           layers ? "   ms/step  x top-k" : "");
}

/* Of the mixture layers where they are timed, else of the whole model. */
static void print_speeds(const bench *b, const beam_decode_bench_result *r,
                         const beam_decode_bench_result *all)
{
    const bool layers = times_layers(b);
    const double read = layers ? r->moe_bytes_per_s : r->bytes_per_s;
    if (layers)
        printf("  %8.2f  %7.2f", 1e3 * r->moe_seconds, all->moe_seconds / r->moe_seconds);
    printf("  %6.1f  %5.1f %%\n", 1e-9 * read, 100 * read / b->read);
}

static void print_row(bench *b, int64_t batch, const char *name, const beam_decode_bench_result *r,
                      const beam_decode_bench_result *all)
{
    const double speed = (double)batch / r->seconds;
    if (!b->options->json) {
        printf("%5" PRId64 "  %-11s  %5.2f  %8.1f  %9.1f  %7.2f  %7.2f", batch, name, r->active, r->distinct,
               speed, 1e3 * r->seconds, all->seconds / r->seconds);
        print_speeds(b, r, all);
        return;
    }
    fputs(b->more ? "," : "", stdout);
    b->more = true;
    beam_printer p = beam_print_open(stdout);
    beam_print_i64(&p, "batch", batch);
    beam_print_text(&p, "experts", name);
    beam_print_f64(&p, "avg_active", r->active);
    beam_print_f64(&p, "distinct_experts", r->distinct);
    beam_print_f64(&p, "tokens_per_s", speed);
    beam_print_f64(&p, "step_s", r->seconds);
    beam_print_f64(&p, "speedup", all->seconds / r->seconds);
    beam_print_f64(&p, "gb_per_s", 1e-9 * r->bytes_per_s);
    beam_print_f64(&p, "share_of_read", r->bytes_per_s / b->read);
    if (times_layers(b)) {
        beam_print_f64(&p, "moe_step_s", r->moe_seconds);
        beam_print_f64(&p, "moe_speedup", all->moe_seconds / r->moe_seconds);
        beam_print_f64(&p, "moe_gb_per_s", 1e-9 * r->moe_bytes_per_s);
        beam_print_f64(&p, "moe_share_of_read", r->moe_bytes_per_s / b->read);
    }
    beam_print_close(&p);
}

static beam_status time_batch(bench *b, int64_t batch)
{
    const asked *o = b->options;
    beam_decode_bench_result r[MOST_RULES];
    const beam_decode_bench_options options = {.config = &b->config,
                                               .weights = &b->weights,
                                               .rule = b->rule,
                                               .rules = b->rules,
                                               .batch = batch,
                                               .context = o->context,
                                               .steps = (int)o->steps};
    BEAM_TRY(beam_decode_bench(&options, &b->be, r));
    for (int i = 0; i < b->rules; i++)
        print_row(b, batch, b->name[i], &r[i], &r[0]);
    fflush(stdout);
    return BEAM_OK;
}

static beam_status run(bench *b)
{
    const asked *o = b->options;
    BEAM_TRY(beam_bench_batches(o->batches, b->batch, &b->batches));
    BEAM_TRY(set_shape(b));
    set_rules(b);
    BEAM_TRY(beam_backend_choice_open(&o->backend, o->threads, &b->be));
    if (is_folder(b))
        BEAM_TRY(beam_decoder_weights_load(&b->weights, &b->config, o->model, NULL, &b->be));
    else
        BEAM_TRY(beam_decoder_weights_random(&b->weights, &b->config, o->active / (double)b->config.top_k,
                                             &b->be));
    b->read = beam_bench_read(&b->weights, &b->be);
    BEAM_TRY(b->be.status);
    print_header(b);
    for (int i = 0; i < b->batches; i++)
        BEAM_TRY(time_batch(b, b->batch[i]));
    if (o->json)
        puts("]}");
    return BEAM_OK;
}

static beam_status check(const asked *o)
{
    BEAM_TRY(beam_check_threads(o->threads));
    if (o->steps < 1 || o->steps > 64 || o->context < 0 || o->layers < 0)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "bench decode: --steps must be 1 to 64; --context and --layers cannot be negative");
    return BEAM_OK;
}

beam_status beam_bench_decode(int argc, char **argv)
{
    asked o = {.batches = "1,4,16,64", .active = 1.2, .context = 128, .steps = 5, .backend = {.name = "cpu"}};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &o.model, "DIR", "a model folder, or the shape random:<config.json>"},
        {"batch", BEAM_TEXT, &o.batches, "N,N", "sequences at a time (default: 1,4,16,64)"},
        {"context", BEAM_INT, &o.context, "N", "tokens before the timed ones (default: 128)"},
        {"active", BEAM_REAL, &o.active, "K", "Avg-K of the masks of a random model (default: 1.2)"},
        {"layers", BEAM_INT, &o.layers, "N", "only so many of a random model's layers"},
        {"steps", BEAM_INT, &o.steps, "N", "timed steps, at most 64; the median counts (default: 5)"},
        BEAM_DECODE_BACKEND_OPTION(o.backend),
        {"threads", BEAM_INT, &o.threads, "N", "default: all cores"},
        {"json", BEAM_FLAG, &o.json, NULL, "print one JSON object"},
    };
    const beam_command command = {
        .synopsis = "bench decode",
        .about =
            "Times single tokens of 1 to 64 sequences, with all K candidates, with mask gates that keep "
            "each\n"
            "candidate with equal chance, so many that Avg-K is about --active (printed as measured), and\n"
            "with pruned top-k, in turn. Beside the mixture layers the speed at which they read weights, as "
            "a\n"
            "share of what the same threads reach by reading alone; on a GPU the same of the whole model. A\n"
            "model folder is timed with its own masks.",
        .examples =
            "  beam bench decode\n  beam bench decode --model random:config.json --layers 4 --batch 1,16",
        .options = options,
        .n = sizeof options / sizeof *options,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    BEAM_TRY(check(&o));
    bench b = {.options = &o};
    const beam_status status = run(&b);
    if (b.be.ops) {
        beam_model_weights_free(&b.weights, &b.be);
        beam_backend_close(&b.be);
    }
    return status;
}
