/* beam export: a trained model as a Hugging Face folder. */
#include "serve/export.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "cli/opened.h"
#include "cli/verbs.h"
#include "data/file.h"

typedef struct {
    beam_model_choice choice;
    const char *out, *dtype, *base_name, *selftest, *eval, *eval_base;
    double shard_gb;
    bool adapter_only, plain_type;
} export_options;

/* What the options name, read. */
typedef struct {
    beam_id_lines lines;
    int32_t made_up[BEAM_SELFTEST_TOKENS];
    const int32_t *id; /* [n] of the self-test */
    int64_t n;
    beam_evaluation eval, eval_base;
} inputs;

static beam_status check_options(const export_options *e)
{
    if (!e->choice.run)
        return BEAM_FAIL(BEAM_ECONFIG, "which run? Give --run DIR, the output_dir of beam train");
    if (!e->out || !*e->out)
        return BEAM_FAIL(BEAM_ECONFIG, "where to? Give --out DIR, a folder that does not exist yet");
    if (strcmp(e->dtype, "float32") != 0 && strcmp(e->dtype, "bfloat16") != 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--dtype takes float32 or bfloat16, not \"%.80s\"", e->dtype);
    if (!(e->shard_gb >= 0.001 && e->shard_gb <= 1000))
        return BEAM_FAIL(BEAM_ECONFIG, "--shard-gb %g: expected 0.001 to 1000", e->shard_gb);
    if (!e->eval != !e->eval_base)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--eval and --eval-base go together: retention is the one over the other");
    return BEAM_OK;
}

/* Two files of beam eval --json, of the run with its masks and of its base. */
static beam_status read_evaluations(const export_options *e, inputs *in)
{
    if (!e->eval)
        return BEAM_OK;
    BEAM_TRY(beam_evaluation_read(e->eval, &in->eval));
    BEAM_TRY(beam_evaluation_read(e->eval_base, &in->eval_base));
    const beam_evaluation *a = &in->eval, *b = &in->eval_base;
    if (!a->masks || b->masks)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: is an evaluation with masks %s; --eval wants them on, --eval-base off",
                         a->masks ? e->eval_base : e->eval, a->masks ? "on" : "off");
    if (strcmp(a->data, b->data) != 0 || a->targets != b->targets)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s and %s are evaluations of different tokens: evaluate both on the same file",
                         e->eval, e->eval_base);
    return BEAM_OK;
}

static beam_status read_selftest(const export_options *e, const beam_opened *o, inputs *in)
{
    const int64_t most = o->config.max_positions;
    if (!e->selftest) {
        in->id = in->made_up;
        in->n = most < BEAM_SELFTEST_TOKENS ? most : BEAM_SELFTEST_TOKENS;
        beam_selftest_ids(o->config.vocab_size, in->n, in->made_up);
        return BEAM_OK;
    }
    BEAM_TRY(beam_ids_read(e->selftest, o->config.vocab_size, &in->lines));
    BEAM_TRY(beam_opened_check_lines(o, e->selftest, &in->lines));
    if (in->lines.n != 1)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: has %" PRId64 " lines {\"ids\": [...]}; a self-test is one sequence",
                         e->selftest, in->lines.n);
    in->id = in->lines.line[0].id;
    in->n = in->lines.line[0].n;
    return BEAM_OK;
}

static void free_inputs(inputs *in)
{
    beam_ids_free(&in->lines);
    beam_evaluation_free(&in->eval);
    beam_evaluation_free(&in->eval_base);
}

/* Mean kept experts over the last steps up to `last` that the run's metrics name; NaN if there are none. */
static double recent_active(const char *checkpoint, int64_t last)
{
    enum { STEPS = 50 };
    static const char key[] = "\"avg_active\":";
    char path[BEAM_PATH_MAX + 96];
    double value[STEPS], sum = 0;
    int64_t n = 0;
    if (beam_join_path(path, sizeof path, checkpoint, "../metrics.jsonl") != BEAM_OK)
        return NAN;
    FILE *f = fopen(path, "r");
    if (!f)
        return NAN;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, f) > 0) {
        long long step;
        const char *at = strstr(line, key);
        if (at && sscanf(line, "{\"step\":%lld", &step) == 1 && step <= last &&
            sscanf(at + strlen(key), "%lf", &value[n % STEPS]) == 1) /* null is no number */
            n++;
    }
    free(line);
    fclose(f);
    const int64_t used = n < STEPS ? n : STEPS;
    for (int64_t i = 0; i < used; i++)
        sum += value[i];
    return used > 0 ? sum / (double)used : NAN;
}

static double average_active(const beam_opened *o)
{
    if (!o->config.mask.present)
        return NAN;
    if (o->run.state.average_active >= 0)
        return o->run.state.average_active;
    return recent_active(o->run.checkpoint, o->run.state.step);
}

/* Bytes in files directly inside the folder, and how many hold tensors. */
static void measure(const char *folder, uint64_t *bytes, int *tensor_files)
{
    DIR *d = opendir(folder);
    *bytes = 0;
    *tensor_files = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        struct stat info;
        const char *end = strrchr(e->d_name, '.');
        if (fstatat(dirfd(d), e->d_name, &info, 0) == 0 && S_ISREG(info.st_mode))
            *bytes += (uint64_t)info.st_size;
        *tensor_files += end && strcmp(end, ".safetensors") == 0;
    }
    if (d)
        closedir(d);
}

static void print_margins(const beam_export_options *x, const beam_mask_margins *m)
{
    if (m->decisions == 0)
        return;
    printf("self-test: %" PRId64 " tokens, %" PRId64 " decisions, of which %" PRId64
           " are within 1e-4 of the cutoff, "
           "%" PRId64 " within 1e-3, %" PRId64 " within 1e-2, %" PRId64 " within 0.1\n",
           x->selftest_tokens, m->decisions, m->below[0], m->below[1], m->below[2], m->below[3]);
    if (x->dtype == BEAM_BF16)
        printf("rounding to bfloat16 changed %" PRId64
               " decisions (%.3f%%), and log-probabilities by at most %.2g\n",
               m->flipped, 100 * (double)m->flipped / (double)m->decisions, m->logprob_moved);
}

static void print_result(const beam_opened *o, const beam_export_options *x, const beam_mask_margins *margins)
{
    uint64_t bytes;
    int files;
    const beam_config *c = &o->run.config;
    const char *data = c->eval_dataset[0] ? c->eval_dataset : c->dataset;
    measure(x->out, &bytes, &files);
    printf("%s: %s of %s at step %" PRId64 ", %.3f MB in %d safetensors file%s, read back and compared\n",
           x->out, x->adapter_only ? "the masks" : "the model", o->run.checkpoint, o->run.state.step,
           1e-6 * (double)bytes, files, files == 1 ? "" : "s");
    if (isfinite(x->avg_active))
        printf("active experts at the end of training: %.3f of %" PRId64 "\n", x->avg_active,
               o->config.top_k);
    print_margins(x, margins);
    if (x->adapter_only)
        printf("it belongs to the base model %s: beam eval --model %s --adapter %s --data %s\n", x->base,
               x->base, x->out, data);
    else
        printf("evaluate it with: beam eval --model %s --data %s\n", x->out, data);
}

static beam_status export_it(const export_options *e, beam_opened *o, const inputs *in)
{
    const beam_config *c = &o->run.config;
    const char *config_json = beam_model_source_random(c->model_name_or_path);
    beam_mask_margins margins;
    const beam_export_options x = {
        .base = config_json ? config_json : c->model_name_or_path,
        .base_name = e->base_name,
        .run = o->run.checkpoint,
        .out = e->out,
        .base_trained = config_json || c->trainable == BEAM_TRAIN_ALL,
        .adapter_only = e->adapter_only,
        .plain_type = e->plain_type,
        .dtype = strcmp(e->dtype, "bfloat16") == 0 ? BEAM_BF16 : BEAM_F32,
        .shard_bytes = (uint64_t)(e->shard_gb * 1e9),
        .avg_active = average_active(o),
        .base_hash = o->run.state.model_hash,
        .selftest = in->id,
        .selftest_tokens = in->n,
        .eval = e->eval ? &in->eval : NULL,
        .eval_base = e->eval ? &in->eval_base : NULL,
    };
    BEAM_TRY(beam_export(o->model, &x, &margins));
    print_result(o, &x, &margins);
    return BEAM_OK;
}

static beam_status export(const export_options *e, beam_opened *o, inputs *in)
{
    BEAM_TRY(check_options(e));
    BEAM_TRY(read_evaluations(e, in));
    BEAM_TRY(beam_opened_look(o, &e->choice));
    BEAM_TRY(read_selftest(e, o, in));
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = in->n};
    BEAM_TRY(beam_opened_load(o, &options));
    return export_it(e, o, in);
}

static const char about[] =
    "Writes what `beam train` has trained as a Hugging Face folder: config.json with the expert_mask block,\n"
    "safetensors, the base model's tokenizer files, and a model card. Tensors that were not trained keep "
    "the\n"
    "base model's bytes; trained ones are stored as --dtype. The folder is read back and compared with the\n"
    "model before it gets its name.\n\n"
    "Masked folders also hold the Python code that runs them in Hugging Face transformers, and a self-test: "
    "what\n"
    "this program computes for a few tokens. Their model_type is a name of its own, so that programs which "
    "do "
    "not\n"
    "know masks refuse them; --plain-type keeps the base's, for a program that needs it and knows masks all "
    "the\n"
    "same.\n\n"
    "--adapter-only writes the mask gates alone (expert_mask.safetensors) for the base model as it is.";

static const char examples[] =
    "  beam export --run runs/masks --out masked-model\n"
    "  beam export --run runs/masks --out masks-only --adapter-only\n"
    "  beam export --run runs/masks --out masked-model --eval masked.json --eval-base "
    "base.json\n"
    "  beam export --run runs/all/checkpoint-000500 --out model --dtype bfloat16";

beam_status beam_verb_export(int argc, char **argv)
{
    export_options e = {.choice = {.backend = {.name = "cpu"}}, /* holds every number as it is */
                        .dtype = "float32",
                        .shard_gb = 5};
    const beam_option options[] = {
        {"run", BEAM_TEXT, &e.choice.run, "DIR", "output_dir of beam train, or a checkpoint in it"},
        {"out", BEAM_TEXT, &e.out, "DIR", "folder to make"},
        {"adapter-only", BEAM_FLAG, &e.adapter_only, NULL, "the mask gates alone"},
        {"plain-type", BEAM_FLAG, &e.plain_type, NULL, "keep the base's model_type in config.json"},
        {"dtype", BEAM_TEXT, &e.dtype, "TYPE", "float32 (default) or bfloat16, for trained tensors"},
        {"base-name", BEAM_TEXT, &e.base_name, "NAME",
         "the base in the model card, as in Qwen/Qwen3-30B-A3B"},
        {"eval", BEAM_TEXT, &e.eval, "FILE", "for the card: beam eval --json of the run"},
        {"eval-base", BEAM_TEXT, &e.eval_base, "FILE", "and of its base, on the same tokens"},
        {"selftest-input", BEAM_TEXT, &e.selftest, "FILE",
         "one line {\"ids\": [...]} (default: made-up ids)"},
        {"shard-gb", BEAM_REAL, &e.shard_gb, "X", "largest safetensors file in GB (default: 5)"},
    };
    const beam_command command = {.synopsis = "export --run DIR --out DIR",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_opened o = {0};
    inputs in = {0};
    const beam_status status = export(&e, &o, &in);
    free_inputs(&in);
    beam_opened_close(&o);
    return status;
}
