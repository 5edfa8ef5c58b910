/* beam eval: what a model does on a token file. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "cli/verbs.h"
#include "serve/score.h"
#include "train/eval.h"

enum { ABSENT = INT_MIN, BATCH_TOKENS = 8192, LONGEST_DEFAULT = 2048, SAMPLE_DEFAULT = 800 };

typedef struct {
    beam_model_choice choice;
    const char *data;
    int64_t top_k, anchor, rows, batch_rows, sequence, sample;
    double top_p;
    bool renormalize, json;
} eval_options;

typedef struct {
    int64_t n;
    int32_t *id;
    beam_score_result score;
} text_sample;

static bool prunes(const eval_options *e)
{
    return e->top_k != ABSENT || e->top_p != ABSENT;
}

static beam_status check_options(const eval_options *e)
{
    if (!e->data)
        return BEAM_FAIL(BEAM_ECONFIG, "which text? Give --data FILE, a token file of beam preprocess");
    if (e->top_p != ABSENT && !(e->top_p > 0 && e->top_p <= 1))
        return BEAM_FAIL(BEAM_ECONFIG, "--top-p %g: expected more than 0 and at most 1", e->top_p);
    if ((e->renormalize || e->anchor != ABSENT) && !prunes(e))
        return BEAM_FAIL(BEAM_ECONFIG, "--renormalize and --anchor go with --top-k N or --top-p P");
    if (e->anchor != ABSENT && e->anchor < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--anchor %lld: expected 0 or more", (long long)e->anchor);
    if (e->renormalize && e->anchor != ABSENT)
        return BEAM_FAIL(BEAM_ECONFIG, "--renormalize is --anchor 0; give one of them");
    if (prunes(e) && e->choice.masks && strcmp(e->choice.masks, "on") == 0)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--top-k and --top-p prune without masks; they cannot be combined with --masks on");
    if (e->sample < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--sample %" PRId64 ": expected a number of tokens, or 0 for none",
                         e->sample);
    if (e->rows < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--rows %" PRId64 ": expected a number of rows, or 0 for all",
                         e->rows);
    return BEAM_OK;
}

/* Fills in what was not given, now that the model's limits are known. */
static beam_status complete_options(eval_options *e, const beam_opened *o)
{
    const beam_model_config *c = &o->config;
    if (e->top_k != ABSENT && (e->top_k < 1 || e->top_k > c->top_k))
        return BEAM_FAIL(BEAM_ECONFIG, "--top-k %" PRId64 ": %s has %" PRId64 " candidates per token",
                         e->top_k, o->name, c->top_k);
    if (e->anchor > c->top_k)
        return BEAM_FAIL(BEAM_ECONFIG, "--anchor %" PRId64 ": %s has %" PRId64 " candidates per token",
                         e->anchor, o->name, c->top_k);
    if (e->sequence == ABSENT)
        e->sequence = c->max_positions < LONGEST_DEFAULT ? c->max_positions : LONGEST_DEFAULT;
    if (e->sequence < 1 || e->sequence > c->max_positions)
        return BEAM_FAIL(BEAM_ECONFIG, "--sequence %" PRId64 ": %s has positions for 1 to %" PRId64 " tokens",
                         e->sequence, o->name, c->max_positions);
    if (e->batch_rows == ABSENT)
        e->batch_rows = e->sequence < BATCH_TOKENS ? BATCH_TOKENS / e->sequence : 1;
    if (e->batch_rows < 1)
        return BEAM_FAIL(BEAM_ECONFIG, "--batch-rows %" PRId64 ": expected at least 1", e->batch_rows);
    return BEAM_OK;
}

static beam_status open_data(const eval_options *e, const beam_opened *o, beam_loader **out)
{
    const beam_loader_options options = {
        .path = e->data, .sequence = e->sequence, .rows = e->batch_rows, .packing = true};
    BEAM_TRY(beam_loader_open(&options, out));
    if (beam_loader_vocab(*out) > o->config.vocab_size)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: holds token ids up to %" PRId64 ", but the vocabulary of %s has %" PRId64
                         ": the file was made with another tokenizer",
                         e->data, beam_loader_vocab(*out) - 1, o->name, o->config.vocab_size);
    return BEAM_OK;
}

static void prune(const eval_options *e, beam_opened *o)
{
    if (!prunes(e))
        return;
    beam_expert_rule rule = beam_model_rule(o->model);
    rule.masks = o->masks = false;
    rule.prune = beam_no_pruning(&o->config);
    if (e->top_p != ABSENT)
        rule.prune.share = e->top_p;
    if (e->top_k != ABSENT)
        rule.prune.keep = (int)e->top_k;
    if (e->renormalize)
        rule.prune.anchor = 0;
    if (e->anchor != ABSENT)
        rule.prune.anchor = (int)e->anchor;
    beam_model_set_rule(o->model, rule);
}

static bool is_byte(const beam_loader *l)
{
    return strcmp(beam_loader_tokenizer(l), "byte") == 0;
}

/* The start of the longest document of the first row. It is all a reader sees of the text. */
static beam_status take_sample(const eval_options *e, beam_model *m, beam_loader *l, text_sample *out)
{
    const beam_batch *b;
    BEAM_TRY(beam_loader_read(l, 0, 1, &b));
    int longest = 0;
    for (int i = 1; i < b->sequences; i++)
        if (b->first[i + 1] - b->first[i] > b->first[longest + 1] - b->first[longest] &&
            b->counted[b->first[i]])
            longest = i;
    const int64_t n = b->first[longest + 1] - b->first[longest];
    out->n = n < e->sample ? n : e->sample;
    out->id = malloc((size_t)out->n * sizeof *out->id);
    if (!out->id)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a text of %" PRId64 " tokens", out->n);
    memcpy(out->id, b->id + b->first[longest], (size_t)out->n * sizeof *out->id);
    return beam_score(m, out->id, out->n, 0, &out->score);
}

static void free_sample(text_sample *s)
{
    free(s->id);
    beam_score_free(&s->score);
}

static void print_sample(beam_printer *p, const char *tokenizer, const text_sample *s)
{
    beam_print_key(p, "sample");
    beam_printer in = beam_print_open(p->to);
    beam_print_text(&in, "tokenizer", tokenizer);
    beam_print_key(&in, "ids");
    for (int64_t t = 0; t < s->n; t++)
        printf("%c%" PRId32, t ? ',' : '[', s->id[t]);
    putchar(']');
    beam_print_key(&in, "kept");
    for (int64_t t = 0; t < s->n; t++) {
        int64_t kept = 0;
        for (int64_t i = 0; i < s->score.layers; i++)
            kept += s->score.kept[t * s->score.layers + i];
        putchar(t ? ',' : '[');
        beam_print_number(stdout, (double)kept / (double)s->score.layers, 4);
    }
    putchar(']');
    beam_print_close(&in);
}

static void print_json(const eval_options *e, const beam_opened *o, const beam_loader *l,
                       const beam_eval_result *r, const text_sample *sample)
{
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "model", o->name);
    beam_print_text(&p, "data", e->data);
    beam_print_bool(&p, "masks", o->masks);
    beam_print_f64(&p, "loss", r->loss);
    beam_print_f64(&p, "perplexity", exp(r->loss));
    if (is_byte(l))
        beam_print_f64(&p, "bits_per_byte", r->loss / log(2));
    beam_print_f64(&p, "accuracy", r->accuracy);
    beam_print_i64(&p, "targets", r->targets);
    beam_print_i64(&p, "tokens", r->tokens);
    beam_print_f64(&p, "avg_active", r->avg_active);
    beam_print_i64(&p, "top_k", o->config.top_k);
    if (prunes(e)) {
        beam_print_i64(&p, "pruned_to", e->top_k != ABSENT ? e->top_k : o->config.top_k);
        beam_print_f64(&p, "top_p", e->top_p != ABSENT ? e->top_p : 1);
        beam_print_bool(&p, "renormalize", e->renormalize);
        if (e->anchor != ABSENT)
            beam_print_i64(&p, "anchor", e->anchor);
    }
    beam_print_f64(&p, "zero_expert_tokens", r->zero_expert_tokens);
    beam_print_f64(&p, "moe_flops_saved", r->moe_flops_saved);
    beam_print_key(&p, "distinct_experts");
    putchar('{');
    for (int i = 0; i < BEAM_DISTINCT_SIZES && r->distinct[i] >= 0; i++) {
        printf("%s\"%d\":", i ? "," : "", 1 << i);
        beam_print_number(stdout, r->distinct[i], 9);
    }
    putchar('}');
    beam_print_list(&p, "active", r->active, r->moe_layers);
    beam_print_key(&p, "expert_load");
    putchar('[');
    for (int64_t i = 0; i < r->moe_layers; i++) {
        if (i > 0)
            putchar(',');
        beam_print_numbers(stdout, r->load + i * r->experts, r->experts, 6);
    }
    putchar(']');
    if (sample->score.kept)
        print_sample(&p, beam_loader_tokenizer(l), sample);
    beam_print_i64(&p, "sequence", e->sequence);
    beam_print_i64(&p, "batch_rows", e->batch_rows);
    beam_print_f64(&p, "tokens_per_s", (double)r->tokens / r->seconds);
    beam_print_f64(&p, "seconds", r->seconds);
    beam_print_end(&p);
}

static void print_rule(const eval_options *e, const beam_opened *o)
{
    if (prunes(e)) {
        const int64_t best = e->top_k != ABSENT ? e->top_k : o->config.top_k;
        printf("the %" PRId64 " best of %" PRId64 " experts", best, o->config.top_k);
        if (e->top_p != ABSENT)
            printf(", of these the fewest with %g of the weight", e->top_p);
        if (e->anchor != ABSENT)
            printf(", weights anchored to the best %" PRId64, e->anchor);
        puts(e->renormalize ? ", weights renormalised" : "");
    } else if (o->masks)
        printf("masks on, threshold %g\n", o->config.mask.threshold);
    else
        printf("%s, all %" PRId64 " candidates run\n", o->config.mask.present ? "masks off" : "no masks",
               o->config.top_k);
}

static void print_table(const eval_options *e, const beam_opened *o, const beam_loader *l,
                        const beam_eval_result *r)
{
    printf("model               %s\n", o->name);
    printf("experts             ");
    print_rule(e, o);
    printf("data                %s, rows of %" PRId64 " tokens, tokenizer %s\n", e->data, e->sequence,
           beam_loader_tokenizer(l));
    printf("loss                %.4f nats per token\n", r->loss);
    printf("perplexity          %.4f\n", exp(r->loss));
    if (is_byte(l))
        printf("bits per byte       %.4f\n", r->loss / log(2));
    printf("token accuracy      %.2f %%\n", 100 * r->accuracy);
    printf("targets             %" PRId64 " of %" PRId64 " tokens\n", r->targets, r->tokens);
    printf("active experts      %.3f of %" PRId64 " per token and layer\n", r->avg_active, o->config.top_k);
    printf("none active         %.2f %% of (token, layer)\n", 100 * r->zero_expert_tokens);
    printf("MoE FLOPs saved     %.1f %%\n", 100 * r->moe_flops_saved);
    printf("distinct experts    ");
    for (int i = 0; i < BEAM_DISTINCT_SIZES && r->distinct[i] >= 0; i++)
        printf("%s%.2f of %d token%s", i ? ", " : "", r->distinct[i], 1 << i, i ? "s" : "");
    printf("\nspeed               %.0f tokens/s, %.1f s\n", (double)r->tokens / r->seconds, r->seconds);
    printf("active by layer    ");
    for (int64_t i = 0; i < r->moe_layers; i++)
        printf(" %.2f", r->active[i]);
    printf("\n");
}

static beam_status judge(const eval_options *e, const beam_opened *o, const beam_eval_result *r)
{
    if (r->targets == 0)
        return BEAM_FAIL(BEAM_EDATA, "%s: its first %" PRId64 " rows hold no target; give more --rows",
                         e->data, e->rows);
    if (!isfinite(r->loss))
        return BEAM_FAIL(BEAM_ENUMERIC,
                         "%s: the loss is not finite; `beam inspect --verify` looks for numbers in its "
                         "weights that are not",
                         o->name);
    return BEAM_OK;
}

static beam_status evaluate(eval_options *e, beam_opened *o, beam_loader **l)
{
    beam_eval_result r;
    text_sample sample = {0};
    BEAM_TRY(beam_opened_look(o, &e->choice));
    BEAM_TRY(complete_options(e, o));
    BEAM_TRY(open_data(e, o, l));
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = e->batch_rows * e->sequence};
    BEAM_TRY(beam_opened_load(o, &options));
    prune(e, o);
    BEAM_TRY(beam_evaluate(o->model, *l, e->rows, e->batch_rows, NULL, &r));
    beam_status status = judge(e, o, &r);
    /* Only masks treat tokens differently. */
    if (!status && e->json && o->masks && r.moe_layers > 0 && e->sample > 0)
        status = take_sample(e, o->model, *l, &sample);
    if (r.targets > 0 && e->json)
        print_json(e, o, *l, &r, &sample);
    else if (r.targets > 0)
        print_table(e, o, *l, &r);
    free_sample(&sample);
    beam_eval_free(&r);
    return status;
}

static const char about[] =
    "Evaluates a model on a token file: loss, perplexity, token accuracy, and how many experts run. --model\n"
    "reads a Hugging Face folder, whose masks decide if its config.json has an expert_mask block; --run "
    "reads\n"
    "what `beam train` has trained so far (output_dir, or one checkpoint folder in it).\n\n"
    "--top-k N and --top-p P are the baselines: masks off, and only the best of a token's candidates run.\n\n"
    "--json also says how many experts each token of a piece of the text keeps (its first row), for beam "
    "report.\n\n"
    "Documents are packed into rows of --sequence tokens without seeing one another. Distinct experts are\n"
    "counted over groups of 1, 2, 4, ... tokens of different rows, up to the rows of a batch.";

static const char examples[] = "  beam eval --model runs/masks-export --data valid.h5\n"
                               "  beam eval --model runs/masks-export --data valid.h5 --masks off --json\n"
                               "  beam eval --run runs/masks --data valid.h5 --rows 200\n"
                               "  beam eval --model base --data valid.h5 --top-k 2 --renormalize";

beam_status beam_verb_eval(int argc, char **argv)
{
    eval_options e = {.top_k = ABSENT,
                      .top_p = ABSENT,
                      .anchor = ABSENT,
                      .batch_rows = ABSENT,
                      .sequence = ABSENT,
                      .sample = SAMPLE_DEFAULT};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &e.choice.model, "DIR", "a Hugging Face folder"},
        {"adapter", BEAM_TEXT, &e.choice.adapter, "DIR",
         "mask gates for that model: beam export --adapter-only"},
        {"run", BEAM_TEXT, &e.choice.run, "DIR", "or output_dir of beam train, or a checkpoint in it"},
        {"data", BEAM_TEXT, &e.data, "FILE", "token file of beam preprocess"},
        {"masks", BEAM_TEXT, &e.choice.masks, "on|off", "as the model is, unless given"},
        {"top-k", BEAM_INT, &e.top_k, "N", "masks off; run the N best candidates"},
        {"top-p", BEAM_REAL, &e.top_p, "P",
         "masks off; run the fewest best ones with this share of the weight"},
        {"renormalize", BEAM_FLAG, &e.renormalize, NULL, "with these: scale the weights to the sum of all"},
        {"anchor", BEAM_INT, &e.anchor, "N", "or as if the N best had been normalised (gain anchoring)"},
        {"rows", BEAM_INT, &e.rows, "N", "only the first N rows"},
        {"batch-rows", BEAM_INT, &e.batch_rows, "N", "rows at a time (default: about 8192 tokens)"},
        {"sequence", BEAM_INT, &e.sequence, "N",
         "tokens per row (default: the model's positions, at most 2048)"},
        {"threads", BEAM_INT, &e.choice.threads, "N", "default: all cores"},
        BEAM_BACKEND_OPTIONS(e.choice.backend),
        {"sample", BEAM_INT, &e.sample, "N",
         "with --json and masks: tokens of the text to show (default: 800; 0: none)"},
        {"json", BEAM_FLAG, &e.json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "eval (--model DIR | --run DIR) --data FILE.h5",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_opened o = {0};
    beam_loader *l = NULL;
    beam_status status = check_options(&e);
    if (!status)
        status = evaluate(&e, &o, &l);
    beam_loader_close(l);
    beam_opened_close(&o);
    return status;
}
