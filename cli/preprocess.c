/* beam preprocess: text to a token file. */
#include "data/preprocess.h"

#include <inttypes.h>
#include <string.h>

#include "cli/args.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "data/loader.h"
#include "train/config.h"

typedef struct {
    beam_preprocess_options run;
    int64_t show, seed;
} preprocess_options;

enum { SHOWN_TOKENS = 600 }; /* of each document */

static bool is_config(const char *path)
{
    return beam_path_ends(path, ".yaml") || beam_path_ends(path, ".yml");
}

static beam_status check_options(const preprocess_options *p, const beam_args *rest)
{
    if (p->show < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--show %" PRId64 ": expected a number of documents", p->show);
    if (p->run.text.max_bad_rows < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--max-bad-rows %" PRId64 ": expected 0 or more",
                         p->run.text.max_bad_rows);
    if (p->run.eval_output && !(p->run.eval_fraction > 0))
        return BEAM_FAIL(BEAM_ECONFIG, "--eval-out: say with --eval-fraction X how much goes there");
    if (p->run.output || is_config(rest->at[0]))
        return BEAM_OK;
    if (rest->n == 1 && beam_path_ends(rest->at[0], ".h5") && p->show > 0)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG,
                     "where to? Give --out FILE.h5 (or one token file and --show N to look at it)");
}

static void print_stats(const beam_preprocess_options *o, const beam_preprocess_stats *s)
{
    printf("%s: %" PRId64 " documents, %" PRId64 " tokens, %.1f%% of them trained\n", o->output, s->documents,
           s->tokens, 100.0 * (double)s->trained / (double)s->tokens);
    if (o->eval_output)
        printf("%s: %" PRId64 " documents, %" PRId64 " tokens\n", o->eval_output, s->eval_documents,
               s->eval_tokens);
    if (s->bad_rows > 0)
        printf("left out: %" PRId64 " malformed documents\n", s->bad_rows);
    if (s->empty > 0)
        printf("left out: %" PRId64 " empty documents\n", s->empty);
    if (s->untaught > 0)
        printf("left out: %" PRId64 " conversations with nothing to learn\n", s->untaught);
}

static beam_status show(const preprocess_options *p, const char *tokens)
{
    return p->show ? beam_preprocess_show(tokens, p->show, SHOWN_TOKENS, stdout) : BEAM_OK;
}

/* `inputs` to the token files that `o` names. */
static beam_status write_tokens(beam_preprocess_options o, char *const inputs[], int n)
{
    beam_preprocess_stats stats;
    o.inputs = (const char *const *)inputs;
    o.n = n;
    BEAM_TRY(beam_preprocess(&o, &stats));
    print_stats(&o, &stats);
    return BEAM_OK;
}

/* "books/train.jsonl.zst" becomes "books/train.h5". */
static void name_tokens(const char *text, char name[BEAM_PATH_MAX])
{
    size_t n = strlen(text) - (beam_path_ends(text, ".zst") ? 4 : 0);
    while (text[n - 1] != '.')
        n--;
    snprintf(name, BEAM_PATH_MAX, "%.*sh5", (int)n, text);
}

/* What to make of a configuration: from its dataset, and from its eval_dataset if that is text too. */
typedef struct {
    beam_config config;
    beam_preprocess_options train, eval;
    char train_tokens[BEAM_PATH_MAX], eval_tokens[BEAM_PATH_MAX];
    bool both;
} plan;

static beam_status make_plan(const preprocess_options *p, const beam_args *rest, plan *out)
{
    const char *path = rest->at[0];
    beam_config *c = &out->config;
    BEAM_TRY(beam_config_load(path, (const char *const *)rest->at + 1, rest->n - 1, c, NULL));
    if (!beam_text_is(c->dataset))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: dataset is %s, which is not text (.txt, .jsonl, .txt.zst, .jsonl.zst); a token "
                         "file needs no preprocessing",
                         path, c->dataset);
    out->both = beam_text_is(c->eval_dataset);
    out->train = out->eval = p->run;
    name_tokens(c->dataset, out->train_tokens);
    if (!p->run.output)
        out->train.output = out->train_tokens;
    if (!out->both)
        return BEAM_OK;
    if (p->run.eval_output)
        return BEAM_FAIL(BEAM_ECONFIG, "--eval-out: eval_dataset is text of its own (%s)", c->eval_dataset);
    name_tokens(c->eval_dataset, out->eval_tokens);
    out->eval.output = out->eval_tokens;
    if (strcmp(out->train.output, out->eval.output) == 0)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: dataset and eval_dataset would both become %s; give --out", path,
                         out->eval.output);
    return BEAM_OK;
}

/* How full the rows of the configuration get. */
static beam_status print_rows(const beam_config *c, const char *tokens)
{
    int64_t targets, counted;
    beam_loader *l;
    const beam_loader_options o = {.path = tokens,
                                   .sequence = c->cutoff_len,
                                   .rows = 1,
                                   .packing = c->packing,
                                   .shuffle = true,
                                   .seed = c->seed};
    BEAM_TRY(beam_loader_open(&o, &l));
    const int64_t rows = beam_loader_rows(l);
    beam_loader_count(l, 0, rows, &targets, &counted);
    printf("%s: %" PRId64 " rows of %" PRId64 " tokens per epoch, %.1f%% full\n", tokens, rows, c->cutoff_len,
           100.0 * (double)counted / ((double)rows * (double)c->cutoff_len));
    beam_loader_close(l);
    return BEAM_OK;
}

static beam_status preprocess_config(const preprocess_options *p, const beam_args *rest)
{
    plan all;
    BEAM_TRY(make_plan(p, rest, &all));
    const char *eval_tokens = all.both ? all.eval.output : all.train.eval_output;
    char *text = all.config.dataset, *eval_text = all.config.eval_dataset;
    BEAM_TRY(write_tokens(all.train, &text, 1));
    if (all.both)
        BEAM_TRY(write_tokens(all.eval, &eval_text, 1));
    BEAM_TRY(print_rows(&all.config, all.train.output));
    printf("train on it: beam train %s dataset=%s%s%s\n", rest->at[0], all.train.output,
           eval_tokens ? " eval_dataset=" : "", eval_tokens ? eval_tokens : "");
    return show(p, all.train.output);
}

static beam_status preprocess(preprocess_options *p, const beam_args *rest)
{
    BEAM_TRY(check_options(p, rest));
    p->run.seed = (uint64_t)p->seed;
    if (is_config(rest->at[0]))
        return preprocess_config(p, rest);
    if (p->run.output)
        BEAM_TRY(write_tokens(p->run, rest->at, rest->n));
    return show(p, p->run.output ? p->run.output : rest->at[0]);
}

static const char about[] =
    "Turns text into a token file for `beam train` and `beam eval`. Inputs: .txt (one document, or several\n"
    "separated by --separator), .jsonl (a document per line); each may be compressed (.zst). Every document\n"
    "ends with the end-of-document token. The tokenizer is \"byte\": a token per byte and three special "
    "ones.\n"
    "A line {\"messages\": [{\"role\": ..., \"content\": ...}, ...]} is a conversation, of which the words "
    "of the\n"
    "assistant are learned (\"loss\": false in a message: not these). For other tokenizers there is\n"
    "scripts/prepare_data.py.\n\n"
    "A configuration (.yaml, .yml) instead of inputs names the text as its dataset: the token file gets "
    "--out, or\n"
    "stands beside it (train.jsonl.zst becomes train.h5). An eval_dataset that is text gets one too. Keys "
    "can be\n"
    "overridden after the file: key=value.\n\n"
    "--show N prints the first N documents of the result with the trained tokens marked, or of a token file\n"
    "given instead of inputs.";

static const char examples[] =
    "  beam preprocess books.txt --out books.h5 --separator '<|end|>' --show 2\n"
    "  beam preprocess corpus.jsonl.zst --out train.h5 --eval-out valid.h5 --eval-fraction 0.01\n"
    "  beam preprocess run.yaml dataset=corpus.jsonl.zst\n"
    "  beam preprocess train.h5 --show 3";

beam_status beam_verb_preprocess(int argc, char **argv)
{
    preprocess_options p = {.run = {.tokenizer = "byte"}, .seed = 42};
    const beam_option options[] = {
        {"out", BEAM_TEXT, &p.run.output, "FILE.h5", "token file to write"},
        {"text-field", BEAM_TEXT, &p.run.text.field, "KEY", ".jsonl: where the text is (default: text)"},
        {"separator", BEAM_TEXT, &p.run.text.separator, "LINE", ".txt: this line separates documents"},
        {"max-bad-rows", BEAM_INT, &p.run.text.max_bad_rows, "N", "leave out up to N malformed ones"},
        {"eval-out", BEAM_TEXT, &p.run.eval_output, "FILE.h5", "token file for documents held out"},
        {"eval-fraction", BEAM_REAL, &p.run.eval_fraction, "X", "share of documents held out"},
        {"seed", BEAM_INT, &p.seed, "N", "which documents are held out (default: 42)"},
        {"show", BEAM_INT, &p.show, "N", "print N documents with trained tokens marked"},
    };
    const beam_command command = {.synopsis = "preprocess INPUT... --out FILE.h5 | CONFIG [key=value ...]",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options,
                                  .min = 1,
                                  .max = argc};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    return rest.help ? BEAM_OK : preprocess(&p, &rest);
}
