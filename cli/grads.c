/* beam grads: loss and gradients of one batch, as safetensors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "cli/verbs.h"
#include "train/grads.h"

typedef struct {
    beam_model_choice choice;
    const char *input, *out, *trainable;
    beam_grads_weights weights;
    bool soft, json;
} grads_options;

static beam_status check_options(const grads_options *g)
{
    if (!g->choice.model)
        return BEAM_FAIL(BEAM_ECONFIG, "which model? Give --model DIR (a Hugging Face folder)");
    if (!g->input || !g->out)
        return BEAM_FAIL(BEAM_ECONFIG, "give --input FILE.jsonl with lines {\"ids\": [...]} and --out "
                                       "FILE.safetensors for the gradients");
    if (strcmp(g->trainable, "all") != 0 && strcmp(g->trainable, "masks") != 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--trainable takes all or masks, not \"%.80s\"", g->trainable);
    if (g->weights.balance != 0 && strcmp(g->trainable, "all") != 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--balance needs --trainable all: the router trains only there");
    return BEAM_OK;
}

static beam_status check_masks(const grads_options *g, const beam_opened *o)
{
    const char *needs = strcmp(g->trainable, "masks") == 0 ? "--trainable masks"
                        : g->soft                          ? "--soft"
                        : g->weights.penalty != 0          ? "--penalty"
                                                           : NULL;
    if (needs && !o->masks)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: needs mask gates, but %s", needs,
                         o->config.mask.present ? "--masks off was given" : "the model has none");
    return BEAM_OK;
}

static beam_status count_tokens(const grads_options *g, const beam_id_lines *lines, int64_t *tokens)
{
    *tokens = 0;
    for (int64_t i = 0; i < lines->n; i++)
        *tokens += lines->line[i].n;
    if (*tokens > INT32_MAX)
        return BEAM_FAIL(BEAM_EDATA, "%s: %" PRId64 " ids are too many for one batch", g->input, *tokens);
    return BEAM_OK;
}

static void print_result(const grads_options *g, const beam_opened *o, const beam_grads_result *r,
                         int64_t tensors)
{
    if (!g->json) {
        printf("loss          %.9g\ntask loss     %.9g\nmask loss     %.9g\nbalance loss  %.9g\n", r->loss,
               r->task_loss, r->mask_loss, r->balance_loss);
        printf("active        %.6g of %" PRId64 " experts per token and layer\n", r->avg_active,
               o->config.top_k);
        printf("%" PRId64 " targets among %" PRId64 " tokens; %" PRId64 " gradients in %s\n", r->targets,
               r->tokens, tensors, g->out);
        return;
    }
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "model", o->name);
    beam_print_bool(&p, "masks", o->masks);
    beam_print_f64(&p, "loss", r->loss);
    beam_print_f64(&p, "task_loss", r->task_loss);
    beam_print_f64(&p, "mask_loss", r->mask_loss);
    beam_print_f64(&p, "balance_loss", r->balance_loss);
    beam_print_f64(&p, "avg_active", r->avg_active);
    beam_print_i64(&p, "targets", r->targets);
    beam_print_i64(&p, "tokens", r->tokens);
    beam_print_i64(&p, "tensors", tensors);
    beam_print_text(&p, "out", g->out);
    beam_print_end(&p);
}

static beam_status load(const grads_options *g, beam_opened *o, int64_t tokens)
{
    const bool all = strcmp(g->trainable, "all") == 0;
    const beam_model_options options = {.scope = all ? BEAM_SCOPE_ALL : BEAM_SCOPE_MASKS,
                                        .max_tokens = tokens};
    BEAM_TRY(beam_opened_load(o, &options));
    beam_expert_rule rule = beam_model_rule(o->model);
    rule.form = g->soft ? BEAM_MASK_SOFT : BEAM_MASK_HARD;
    beam_model_set_rule(o->model, rule);
    return BEAM_OK;
}

static beam_status grads(const grads_options *g, beam_opened *o)
{
    BEAM_TRY(check_options(g));
    BEAM_TRY(beam_opened_look(o, &g->choice));
    BEAM_TRY(check_masks(g, o));
    beam_id_lines lines;
    beam_grads_result result;
    int64_t tokens, tensors;
    BEAM_TRY(beam_ids_read(g->input, o->config.vocab_size, &lines));
    beam_status status = beam_opened_check_lines(o, g->input, &lines);
    if (!status)
        status = count_tokens(g, &lines, &tokens);
    if (!status)
        status = load(g, o, tokens);
    if (!status)
        status = beam_gradients(o->model, &lines, g->input, &g->weights, &result);
    beam_ids_free(&lines);
    if (!status)
        status = beam_gradients_write(o->model, &result, g->out, &tensors);
    if (!status)
        print_result(g, o, &result, tensors);
    return status;
}

static const char about[] =
    "One forward and backward pass over all lines {\"ids\": [...]} of the input, each a sequence of its "
    "own;\n"
    "an optional \"loss\": [0, 1, ...] says which ids are targets when they are predicted. Writes the "
    "gradient\n"
    "of every trainable parameter under its Hugging Face name (f32), and loss, task_loss, mask_loss,\n"
    "balance_loss and avg_active as tensors of one element.\n\n"
    "The loss is task + B * balance (--balance B) + P * mask (--penalty P): the mean negative "
    "log-likelihood\n"
    "of the targets, Hugging Face's load-balancing loss, and the mean soft mask of the candidates. "
    "Gradients\n"
    "pass the hard masks straight-through; --soft weighs experts by the soft mask instead, so that they are\n"
    "the derivative of the loss.";

static const char examples[] =
    "  beam grads --model export --input batch.jsonl --out grads.safetensors --penalty 0.3\n"
    "  beam grads --model base --input batch.jsonl --out grads.safetensors --balance 0.001 --json";

beam_status beam_verb_grads(int argc, char **argv)
{
    grads_options g = {.trainable = "all"};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &g.choice.model, "DIR", "a Hugging Face folder"},
        {"input", BEAM_TEXT, &g.input, "FILE", "JSON lines"},
        {"out", BEAM_TEXT, &g.out, "FILE", "safetensors file to write"},
        {"trainable", BEAM_TEXT, &g.trainable, "all|masks", "which parameters (default: all)"},
        {"masks", BEAM_TEXT, &g.choice.masks, "on|off", "as the model is, unless given"},
        {"soft", BEAM_FLAG, &g.soft, NULL, "soft masks instead of hard ones"},
        {"penalty", BEAM_REAL, &g.weights.penalty, "P", "weight of the mask loss (default: 0)"},
        {"balance", BEAM_REAL, &g.weights.balance, "B", "weight of the load-balancing loss (default: 0)"},
        {"threads", BEAM_INT, &g.choice.threads, "N", "default: all cores"},
        BEAM_BACKEND_OPTIONS(g.choice.backend),
        {"json", BEAM_FLAG, &g.json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "grads --model DIR --input FILE.jsonl --out FILE.safetensors",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_opened o = {0};
    const beam_status status = grads(&g, &o);
    beam_opened_close(&o);
    return status;
}
