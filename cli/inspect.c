/* beam inspect: what a file or folder holds. */
#include "cli/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/printer.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "data/tokenizer.h"
#include "data/tokens.h"

static void print_tokens(const char *path, const beam_tokens *t, int64_t targets, int64_t longest)
{
    printf("token file    %s\n", path);
    printf("tokens        %" PRId64 " in %" PRId64 " documents, the longest of %" PRId64 "\n", t->tokens,
           t->documents, longest);
    printf("targets       %" PRId64 "\n", targets);
    printf("tokenizer     %s, vocabulary of %" PRId64 "%s\n", t->tokenizer, t->vocab,
           beam_tokenizer_find(t->tokenizer) ? "" : " (ids can be trained on, not shown)");
    printf("hash          %016" PRIx64 " (verified)\n", t->hash);
}

static void print_tokens_json(const char *path, const beam_tokens *t, int64_t targets, int64_t longest)
{
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, t->hash);
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "kind", "tokens");
    beam_print_text(&p, "path", path);
    beam_print_i64(&p, "tokens", t->tokens);
    beam_print_i64(&p, "documents", t->documents);
    beam_print_i64(&p, "longest", longest);
    beam_print_i64(&p, "targets", targets);
    beam_print_text(&p, "tokenizer", t->tokenizer);
    beam_print_i64(&p, "vocab_size", t->vocab);
    beam_print_text(&p, "hash", hash);
    beam_print_bool(&p, "verified", true);
    beam_print_end(&p);
}

/* Reading a token file verifies it. */
static beam_status inspect_tokens(const char *path, const beam_inspect_options *o)
{
    beam_tokens t;
    BEAM_TRY(beam_tokens_read(path, &t));
    int64_t targets = 0, longest = 0;
    for (int64_t d = 0; d < t.documents; d++) {
        const int64_t first = t.start[d], end = t.start[d + 1];
        longest = end - first > longest ? end - first : longest;
        for (int64_t i = first + 1; i < end; i++)
            targets += t.loss[i];
    }
    (o->json ? print_tokens_json : print_tokens)(path, &t, targets, longest);
    beam_tokens_free(&t);
    return BEAM_OK;
}

static bool holds(const char *folder, const char *name)
{
    char path[1200];
    return beam_join_path(path, sizeof path, folder, name) == BEAM_OK && beam_file_exists(path);
}

static beam_status inspect(const char *path, const beam_inspect_options *o)
{
    if (o->experts)
        return beam_inspect_experts(path, o);
    if (o->data || o->rows)
        return BEAM_FAIL(BEAM_ECONFIG, "--data and --rows go with --experts");
    if (beam_folder_exists(path)) {
        if (holds(path, "manifest.json"))
            return beam_inspect_checkpoint(path, o);
        return holds(path, "config.json") ? beam_inspect_model(path, o) : beam_inspect_run(path, o);
    }
    if (!beam_file_exists(path))
        return BEAM_FAIL(BEAM_EIO, "%s: no such file or folder", path);
    if (beam_path_ends(path, ".safetensors"))
        return beam_inspect_weights(path, o);
    if (beam_path_ends(path, ".json"))
        return beam_inspect_config(path, o);
    if (beam_path_ends(path, ".h5"))
        return inspect_tokens(path, o);
    return BEAM_FAIL(BEAM_ECONFIG,
                     "%s: its name does not tell its kind; expected a token file (.h5), .safetensors, a "
                     "config.json, or a folder",
                     path);
}

static const char about[] =
    "Says what PATH holds: a token file, a model folder, a config.json, a safetensors file, a checkpoint, "
    "or\n"
    "a run's folder with its checkpoints. Token files and single checkpoints are verified against their\n"
    "hashes in any case.\n\n"
    "--verify also reads every tensor of a model and checks that its numbers are finite, and verifies every\n"
    "checkpoint of a run.\n\n"
    "--experts runs a model over --data, all candidates of its routers, whatever its masks say, and ranks\n"
    "its experts by the largest number each puts out. Super experts, without which a model fails, are\n"
    "marked: see mask.protect.";

static const char examples[] = "  beam inspect train.h5\n"
                               "  beam inspect runs/masks\n"
                               "  beam inspect runs/masks/checkpoint-000500 --json\n"
                               "  beam inspect masked-model --verify --tensors\n"
                               "  beam inspect base-model --experts --data train.h5";

beam_status beam_verb_inspect(int argc, char **argv)
{
    beam_inspect_options o = {0};
    const beam_option options[] = {
        {"verify", BEAM_FLAG, &o.verify, NULL, "read and check everything"},
        {"tensors", BEAM_FLAG, &o.tensors, NULL, "list the tensors or arrays"},
        {"experts", BEAM_FLAG, &o.experts, NULL, "rank a model's experts by what they put out"},
        {"data", BEAM_TEXT, &o.data, "FILE", "with --experts: token file of beam preprocess"},
        {"rows", BEAM_INT, &o.rows, "N", "with --experts: rows of it (default: about 8192 tokens)"},
        {"json", BEAM_FLAG, &o.json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "inspect PATH [--experts --data FILE.h5]",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options,
                                  .min = 1,
                                  .max = 1};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    return rest.help ? BEAM_OK : inspect(rest.at[0], &o);
}
