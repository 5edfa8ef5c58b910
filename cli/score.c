/* beam score: log-probabilities of given tokens and the experts that ran, line by line. */
#include "cli/score.h"

#include <inttypes.h>

#include "cli/args.h"
#include "cli/printer.h"
#include "cli/verbs.h"
#include "serve/score.h"

static void print_counts(FILE *f, const beam_score_result *r)
{
    fputs(",\"active\":[", f);
    for (int64_t t = 0; t < r->n; t++) {
        fputs(t ? ",[" : "[", f);
        for (int64_t i = 0; i < r->layers; i++)
            fprintf(f, "%s%" PRId32, i ? "," : "", r->kept[t * r->layers + i]);
        putc(']', f);
    }
    putc(']', f);
}

static void print_experts(FILE *f, const beam_score_result *r)
{
    fputs(",\"experts\":[", f);
    for (int64_t t = 0; t < r->n; t++) {
        fputs(t ? ",[" : "[", f);
        for (int64_t i = 0; i < r->layers; i++) {
            const int32_t *id = r->expert + (t * r->layers + i) * r->top_k;
            fputs(i ? ",[" : "[", f);
            for (int32_t k = 0; k < r->kept[t * r->layers + i]; k++)
                fprintf(f, "%s%" PRId32, k ? "," : "", id[k]);
            putc(']', f);
        }
        putc(']', f);
    }
    putc(']', f);
}

static beam_status score_line(const beam_score_options *s, beam_opened *o, const beam_id_line *line,
                              beam_lines *lines)
{
    beam_score_result r;
    BEAM_TRY(beam_score(o->model, line->id, line->n, 0, &r));
    fputs("{\"logprobs\":", lines->line);
    beam_print_numbers(lines->line, r.logprob, r.n - 1, 9);
    print_counts(lines->line, &r);
    if (s->experts)
        print_experts(lines->line, &r);
    fputs("}\n", lines->line);
    beam_score_free(&r);
    return beam_lines_next(lines);
}

static beam_status score_ids(const beam_score_options *s, beam_opened *o, beam_lines *lines)
{
    beam_id_lines ids;
    BEAM_TRY(beam_ids_read(s->input, o->config.vocab_size, &ids));
    beam_status status = beam_opened_check_lines(o, s->input, &ids);
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = ids.longest};
    if (!status)
        status = beam_opened_load(o, &options);
    for (int64_t i = 0; !status && i < ids.n; i++)
        status = score_line(s, o, &ids.line[i], lines);
    beam_ids_free(&ids);
    return status;
}

static beam_status score(const beam_score_options *s, beam_opened *o)
{
    beam_lines lines;
    if (!s->input)
        return BEAM_FAIL(BEAM_ECONFIG, "which tokens? Give --input FILE.jsonl with lines {\"ids\": [...]}");
    if (s->experts && s->choices)
        return BEAM_FAIL(BEAM_ECONFIG, "--experts goes with lines of ids, not with --choices");
    BEAM_TRY(beam_opened_look(o, &s->choice));
    beam_status status = beam_lines_open(&lines, s->out);
    if (!status)
        status = (s->choices ? beam_score_choices : score_ids)(s, o, &lines);
    return beam_lines_close(&lines, status);
}

static const char about[] =
    "Prints one JSON line per input line {\"ids\": [...]}: {\"logprobs\": [log-probability of each id but "
    "the\n"
    "first], \"active\": [for each token: kept experts in each MoE layer]}; with --experts also "
    "\"experts\":\n"
    "their ids, best first. For comparing models and engines token by token.\n\n"
    "--choices: input lines are {\"id\", \"context\", \"choices\": [texts], \"label\"}. The score of a "
    "choice is\n"
    "the log-probability of its bytes given the context: their sum, and their mean per byte. Prints one "
    "line\n"
    "per question with the best choice under both, and the accuracy with its standard error on stderr. For\n"
    "byte-level models. A context that does not fit the model is cut from the left; the first byte of a "
    "text\n"
    "is not scored, since nothing precedes it.";

static const char examples[] =
    "  beam score --model export --input ids.jsonl\n"
    "  beam score --model export --input ids.jsonl --experts --masks off --out scores.jsonl\n"
    "  beam score --model export --input questions.jsonl --choices";

beam_status beam_verb_score(int argc, char **argv)
{
    beam_score_options s = {0};
    const beam_option options[] = {
        {"model", BEAM_TEXT, &s.choice.model, "DIR", "a Hugging Face folder"},
        {"adapter", BEAM_TEXT, &s.choice.adapter, "DIR",
         "mask gates for that model: beam export --adapter-only"},
        {"run", BEAM_TEXT, &s.choice.run, "DIR", "or output_dir of beam train, or a checkpoint in it"},
        {"input", BEAM_TEXT, &s.input, "FILE", "JSON lines"},
        {"masks", BEAM_TEXT, &s.choice.masks, "on|off", "as the model is, unless given"},
        {"experts", BEAM_FLAG, &s.experts, NULL, "also print the ids of the kept experts"},
        {"choices", BEAM_FLAG, &s.choices, NULL, "input lines are multiple-choice questions"},
        {"threads", BEAM_INT, &s.choice.threads, "N", "default: all cores"},
        BEAM_BACKEND_OPTIONS(s.choice.backend),
        {"out", BEAM_TEXT, &s.out, "FILE", "write here instead of stdout"},
    };
    const beam_command command = {.synopsis = "score (--model DIR | --run DIR) --input FILE.jsonl",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_opened o = {0};
    const beam_status status = score(&s, &o);
    beam_opened_close(&o);
    return status;
}
