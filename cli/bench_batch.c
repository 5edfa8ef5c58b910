/* beam bench batch: what batches of sequences read, and what batch-aware dropping costs in quality. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/args.h"
#include "cli/bench.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "serve/decode_eval.h"

enum { MOST_RULES = 4 };

typedef struct {
    const char *model, *data, *batches;
    double share;
    int64_t rows, sequence, threads;
    bool json;
} asked;

typedef struct {
    const char *name;
    beam_expert_rule rule;
    beam_lone_rule lone;
} contender;

typedef struct {
    const asked *options;
    beam_model_config config;
    beam_model_weights weights;
    beam_backend be;
    contender at[MOST_RULES];
    int n;
    bool more; /* a row of JSON was printed */
} bench;

static beam_status check(const asked *o)
{
    if (!o->model || !o->data)
        return BEAM_FAIL(BEAM_ECONFIG, "bench batch: give --model DIR and --data FILE, a token file");
    if (!(o->share > 0 && o->share <= 1))
        return BEAM_FAIL(BEAM_ECONFIG, "--lone-share %g: expected more than 0, at most 1", o->share);
    if (o->rows < 1 || o->sequence < 1)
        return BEAM_FAIL(BEAM_ECONFIG, "bench batch: --rows and --sequence must be positive");
    return beam_check_threads(o->threads);
}

/* All candidates, masks, and masks with lone pairs dropped or moved; without masks those of all candidates.
 */
static void set_rules(bench *b)
{
    const beam_expert_rule own = beam_decoder_rule(&b->config);
    beam_expert_rule all = own;
    all.masks = false;
    b->at[b->n++] = (contender){"top-k", all, {0}};
    if (own.masks)
        b->at[b->n++] = (contender){"masks", own, {0}};
    const double share = b->options->share;
    b->at[b->n++] = (contender){"lone dropped", own, {BEAM_LONE_DROP, share}};
    if (own.masks) /* only a dropped candidate can take over */
        b->at[b->n++] = (contender){"lone moved", own, {BEAM_LONE_MOVE, share}};
}

static void print_row(bench *b, int64_t batch, const char *name, const beam_decode_eval_result *r,
                      const beam_decode_eval_result *all)
{
    const double tokens_per_s = (double)r->tokens / r->seconds;
    if (!b->options->json) {
        printf("%5" PRId64 "  %-12s  %5.2f  %8.2f  %7.4f  %+7.4f  %7.2f%%  %9.1f\n", batch, name,
               r->avg_active, r->distinct, r->loss, r->loss - all->loss, 100 * r->accuracy, tokens_per_s);
        return;
    }
    fputs(b->more ? "," : "", stdout);
    b->more = true;
    beam_printer p = beam_print_open(stdout);
    beam_print_i64(&p, "batch", batch);
    beam_print_text(&p, "experts", name);
    beam_print_f64(&p, "avg_active", r->avg_active);
    beam_print_f64(&p, "distinct_experts", r->distinct);
    beam_print_f64(&p, "loss", r->loss);
    beam_print_f64(&p, "accuracy", r->accuracy);
    beam_print_i64(&p, "targets", r->targets);
    beam_print_f64(&p, "tokens_per_s", tokens_per_s);
    beam_print_close(&p);
}

static beam_status measure(bench *b, int64_t batch)
{
    const asked *o = b->options;
    const beam_loader_options text = {.path = o->data, .sequence = o->sequence, .rows = batch};
    beam_loader *l = NULL;
    beam_decode_eval_result r[MOST_RULES];
    beam_status status = beam_loader_open(&text, &l);
    if (!status && beam_loader_vocab(l) > b->config.vocab_size)
        status = BEAM_FAIL(BEAM_EDATA, "%s: was made with another tokenizer than the model's", o->data);
    for (int i = 0; !status && i < b->n; i++) {
        const contender *c = &b->at[i];
        const beam_decoder_options options = {
            .sequences = batch, .context = o->sequence, .chunk = batch, .logits = batch, .lone = c->lone};
        status = beam_decode_evaluate(&b->config, &b->weights, c->rule, &options, l, o->rows, &b->be, &r[i]);
        if (!status && r[i].targets == 0)
            status = BEAM_FAIL(BEAM_EDATA, "%s: its first %" PRId64 " rows hold no target", o->data, o->rows);
        if (!status)
            print_row(b, batch, c->name, &r[i], &r[0]);
    }
    fflush(stdout);
    beam_loader_close(l);
    return status;
}

static beam_status run(bench *b)
{
    const asked *o = b->options;
    int64_t batch[BEAM_BENCH_MOST_BATCHES];
    int batches;
    BEAM_TRY(beam_bench_batches(o->batches, batch, &batches));
    BEAM_TRY(beam_model_source_config(o->model, &(beam_gate_request){0}, &b->config));
    if (o->sequence > b->config.max_positions)
        return BEAM_FAIL(BEAM_ECONFIG, "--sequence %" PRId64 ": the model has %" PRId64 " positions",
                         o->sequence, b->config.max_positions);
    set_rules(b);
    BEAM_TRY(beam_open_backend(BEAM_BACKEND_CPU, BEAM_BF16_AUTO, NULL, o->threads, &b->be));
    BEAM_TRY(beam_decoder_weights_load(&b->weights, &b->config, o->model, &b->be));
    if (o->json)
        fputs("{\"rows\":[", stdout);
    else
        printf("%s on %s: %" PRId64 " rows of %" PRId64
               " tokens, a token of each row of the batch per step;\n"
               "lone: with less than %g of their token's weight\n\n"
               "batch  experts       Avg-K  distinct     loss    +nats  accuracy   tokens/s\n",
               o->model, o->data, o->rows, o->sequence, o->share);
    for (int i = 0; i < batches; i++)
        BEAM_TRY(measure(b, batch[i]));
    if (o->json)
        puts("]}");
    return BEAM_OK;
}

beam_status beam_bench_batch(int argc, char **argv)
{
    asked o = {.batches = "1,4,16,64", .share = 1, .rows = 64, .sequence = 128};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &o.model, "DIR", "a Hugging Face folder"},
        {"data", BEAM_TEXT, &o.data, "FILE", "token file of beam preprocess"},
        {"batch", BEAM_TEXT, &o.batches, "N,N", "sequences at a time (default: 1,4,16,64)"},
        {"rows", BEAM_INT, &o.rows, "N", "rows of text (default: 64); the same for every batch"},
        {"sequence", BEAM_INT, &o.sequence, "N", "tokens per row (default: 128)"},
        {"lone-share", BEAM_REAL, &o.share, "S",
         "only pairs with less of their token's weight (default: 1, all)"},
        {"threads", BEAM_INT, &o.threads, "N", "default: all cores"},
        {"json", BEAM_FLAG, &o.json, NULL, "print one JSON object"},
    };
    const beam_command command = {
        .synopsis = "bench batch --model DIR --data FILE.h5",
        .about =
            "Decodes a text, B rows side by side: how many different experts a step reads, and what it "
            "costs\n"
            "in quality to drop the pairs (token, expert) that are the only reader of their expert in the\n"
            "step, or to move them to another of the token's candidates that is read anyway (--lone of beam\n"
            "generate).",
        .examples = "  beam bench batch --model masked --data test.h5 --batch 4,16,64 --lone-share 0.2",
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
