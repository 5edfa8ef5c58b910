/* beam preprocess: text to a token file. */
#include "data/preprocess.h"

#include <inttypes.h>
#include <string.h>

#include "cli/args.h"
#include "cli/verbs.h"

typedef struct {
    beam_preprocess_options run;
    int64_t show, seed;
} preprocess_options;

enum { SHOWN_TOKENS = 600 }; /* of each document */

static bool is_token_file(const char *path)
{
    const size_t n = strlen(path);
    return n > 3 && strcmp(path + n - 3, ".h5") == 0;
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
    if (p->run.output)
        return BEAM_OK;
    if (rest->n == 1 && is_token_file(rest->at[0]) && p->show > 0)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG,
                     "where to? Give --out FILE.h5 (or one token file and --show N to look at it)");
}

static void print_stats(const preprocess_options *p, const beam_preprocess_stats *s)
{
    printf("%s: %" PRId64 " documents, %" PRId64 " tokens\n", p->run.output, s->documents, s->tokens);
    if (p->run.eval_output)
        printf("%s: %" PRId64 " documents, %" PRId64 " tokens\n", p->run.eval_output, s->eval_documents,
               s->eval_tokens);
    if (s->bad_rows > 0)
        printf("left out: %" PRId64 " malformed documents\n", s->bad_rows);
    if (s->empty > 0)
        printf("left out: %" PRId64 " empty documents\n", s->empty);
}

static beam_status preprocess(preprocess_options *p, const beam_args *rest)
{
    BEAM_TRY(check_options(p, rest));
    if (p->run.output) {
        beam_preprocess_stats stats;
        p->run.inputs = (const char *const *)rest->at;
        p->run.n = rest->n;
        p->run.seed = (uint64_t)p->seed;
        BEAM_TRY(beam_preprocess(&p->run, &stats));
        print_stats(p, &stats);
    }
    if (p->show == 0)
        return BEAM_OK;
    return beam_preprocess_show(p->run.output ? p->run.output : rest->at[0], p->show, SHOWN_TOKENS, stdout);
}

static const char about[] =
    "Turns text into a token file for `beam train` and `beam eval`. Inputs: .txt (one document, or several\n"
    "separated by --separator), .jsonl (a document per line); each may be compressed (.zst). Every document\n"
    "ends with the end-of-document token. The tokenizer is \"byte\": a token per byte and three special "
    "ones.\n\n"
    "--show N prints the first N documents of the result with the trained tokens marked, or of a token file\n"
    "given instead of inputs. Everything is said on the command line; there is no configuration file for it.";

static const char examples[] =
    "  beam preprocess books.txt --out books.h5 --separator '<|end|>' --show 2\n"
    "  beam preprocess corpus.jsonl.zst --out train.h5 --eval-out valid.h5 --eval-fraction 0.01\n"
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
    const beam_command command = {.synopsis = "preprocess INPUT... --out FILE.h5",
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
