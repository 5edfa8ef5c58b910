/* beam init: a starter configuration for a model on this machine, and launch scripts. */
#include "cli/init.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/args.h"
#include "cli/embedded.h"
#include "cli/quantity.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "train/source.h"

enum {
    STEP_ROWS = 8,      /* of an optimizer step of one rank */
    LONGEST_ROW = 2048, /* tokens */
    MOST_KEYS = 16,
};

/* Of a token's candidates, to end with: about the quick start's 3.5 of 8. Below `least_kept` most layers
 * would run a single expert. */
static const double kept_share = 0.4, least_kept = 1.2;

typedef struct {
    const char *out, *backend;
    bool bf16;
    double memory;
} request;

/* A configuration under way. */
typedef struct {
    char text[MOST_KEYS][BEAM_PATH_MAX + 64]; /* "key=value" */
    int n;
} keys;

__attribute__((format(printf, 2, 3))) static void add(keys *k, const char *fmt, ...)
{
    va_list args;
    BEAM_ASSERT(k->n < MOST_KEYS);
    va_start(args, fmt);
    vsnprintf(k->text[k->n++], sizeof k->text[0], fmt, args);
    va_end(args);
}

/* Every key in "key=value key=value". */
static void add_all(keys *k, const char *advice)
{
    while (*advice) {
        const int n = (int)strcspn(advice, " ");
        add(k, "%.*s", n, advice);
        advice += n + (advice[n] == ' ');
    }
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static beam_status absolute(const char *path, char out[BEAM_PATH_MAX])
{
    char *real = realpath(path, NULL);
    if (!real || strlen(real) >= BEAM_PATH_MAX) {
        free(real);
        return BEAM_FAIL(BEAM_EIO, "%s: cannot be found, or its path is too long", path);
    }
    memcpy(out, real, strlen(real) + 1);
    free(real);
    return BEAM_OK;
}

/* A folder is the model. A config.json says where the model will be, another .json only what it is called.
 * `source` is what shapes are read from. */
static beam_status name_model(const char *given, beam_init_facts *x, char source[BEAM_PATH_MAX + 16])
{
    char path[BEAM_PATH_MAX];
    const bool json = beam_path_ends(given, ".json");
    snprintf(source, BEAM_PATH_MAX + 16, "%s%.*s", json ? "random:" : "", BEAM_PATH_MAX - 1, given);
    snprintf(path, sizeof path, "%.*s", BEAM_PATH_MAX - 1, given);
    x->there = !json && beam_folder_exists(given);
    if (x->there || beam_file_exists(given))
        BEAM_TRY(absolute(given, path));
    char *file = strrchr(path, '/');
    if (json && file && strcmp(file, "/config.json") == 0)
        *file = '\0';
    else if (json)
        memmove(path, last_part(path), strlen(last_part(path)) + 1);
    if (json && beam_path_ends(path, ".json"))
        path[strlen(path) - strlen(".json")] = '\0';
    snprintf(x->model, sizeof x->model, "%s", path);
    snprintf(x->name, sizeof x->name, "%.100s", last_part(path));
    for (char *p = x->name; *p; p++) /* it gets into a comment, which ends with its line */
        *p = (unsigned char)*p < ' ' ? '_' : *p;
    return BEAM_OK;
}

static double choose_target(int64_t top_k)
{
    const double target = kept_share * (double)top_k;
    return target > least_kept ? target : least_kept < (double)top_k ? least_kept : (double)top_k;
}

static beam_status forecast(const keys *k, beam_forecast *f)
{
    const char *at[MOST_KEYS];
    for (int i = 0; i < k->n; i++)
        at[i] = k->text[i];
    BEAM_TRY(beam_config_load(NULL, at, k->n, &f->config, NULL));
    return beam_forecast_make(f);
}

/* The first of the settings that are advised where STEP_ROWS rows at a time do not fit; the smallest where
 * none is. */
static beam_status size_config(const request *r, const char *name, const char *source, beam_forecast *f)
{
    keys k = {0};
    beam_model_config model;
    BEAM_TRY(beam_model_source_config(source, &(beam_gate_request){.add = true}, &model));
    add(&k, "model_name_or_path=%s", source);
    add(&k, "mask.target_active=%.3g", choose_target(model.top_k));
    add(&k, "dataset=train.h5");
    add(&k, "eval_dataset=valid.h5");
    add(&k, "cutoff_len=%d", (int)(model.max_positions < LONGEST_ROW ? model.max_positions : LONGEST_ROW));
    add(&k, "per_device_train_batch_size=%d", STEP_ROWS);
    add(&k, "output_dir=runs/%s-masks", name);
    if (r->backend)
        add(&k, "backend=%s", r->backend);
    if (r->bf16)
        add(&k, "bf16=true");
    BEAM_TRY(forecast(&k, f));
    if (f->fits)
        return BEAM_OK;
    char smallest[128];
    snprintf(smallest, sizeof smallest,
             "per_device_train_batch_size=1 gradient_accumulation_steps=%d gradient_checkpointing=true",
             STEP_ROWS);
    add_all(&k, f->n_advice > 0 ? f->advice[0].keys : smallest);
    return forecast(&k, f);
}

static beam_status config_text(const beam_init_facts *x, char **text, size_t *size)
{
    FILE *stream = open_memstream(text, size);
    if (!stream)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the configuration");
    beam_init_print_config(x, stream);
    return fclose(stream) == 0 ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for the configuration");
}

/* Launchers that are there already, as in this project's own folder, are as good as written. */
static bool is_there(const char *path, const void *bytes, size_t size)
{
    char *found;
    size_t n;
    if (!beam_file_exists(path) || beam_file_read(path, size, &found, &n) != BEAM_OK)
        return false;
    const bool same = n == size && memcmp(found, bytes, n) == 0;
    free(found);
    return same;
}

static beam_status refuse_existing(const char *path)
{
    if (beam_file_exists(path) || beam_folder_exists(path))
        return BEAM_FAIL(BEAM_EIO,
                         "%s: is there already, and beam init overwrites nothing; give another --out", path);
    return BEAM_OK;
}

/* With `write` false only looks whether it may be written. */
static beam_status put_launchers(const char *out, bool write)
{
    for (int i = 0; i < beam_launchers_n; i++) {
        char path[BEAM_PATH_MAX];
        const beam_embedded *e = &beam_launchers[i];
        BEAM_TRY(beam_join_path(path, sizeof path, out, e->path));
        if (is_there(path, e->bytes, e->size))
            continue;
        BEAM_TRY(refuse_existing(path));
        if (!write)
            continue;
        BEAM_TRY(beam_make_folder_of(path));
        BEAM_TRY(beam_file_write(path, e->bytes, e->size));
        if (chmod(path, 0755) != 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot make it executable", path);
    }
    return BEAM_OK;
}

static beam_status write_all(const char *out, const char *config, const char *text, size_t size)
{
    BEAM_TRY(refuse_existing(config));
    BEAM_TRY(put_launchers(out, false));
    BEAM_TRY(beam_make_folder(out));
    BEAM_TRY(put_launchers(out, true));
    return beam_file_write(config, text, size);
}

static void print_next(const char *config, const beam_init_facts *x, const char *out)
{
    const beam_config *c = &x->forecast->config;
    printf("%s: %d x %d tokens at a time\n", config, (int)c->per_device_train_batch_size, (int)c->cutoff_len);
    beam_forecast_print_verdict(x->forecast);
    printf("\nnext, in %s:\n"
           "  fill in %sdataset and eval_dataset in run.yaml\n"
           "  beam train run.yaml --dry-run\n"
           "  beam train run.yaml\n"
           "or with several processes, on one machine or with Slurm:\n"
           "  scripts/launch/one_node.sh -n 2 beam train run.yaml\n"
           "  sbatch scripts/launch/slurm.sbatch beam train run.yaml\n",
           out, x->there ? "" : "model_name_or_path, ");
}

static beam_status init(const request *r, const char *given)
{
    char source[BEAM_PATH_MAX + 16], config[BEAM_PATH_MAX], *text = NULL;
    size_t size = 0;
    beam_forecast f = {.ranks = 1, .memory = r->memory};
    beam_init_facts x = {.forecast = &f};
    BEAM_TRY(name_model(given, &x, source));
    BEAM_TRY(size_config(r, x.name, source, &f));
    BEAM_TRY(beam_join_path(config, sizeof config, r->out, "run.yaml"));
    beam_status status = config_text(&x, &text, &size);
    if (!status)
        status = write_all(r->out, config, text, size);
    free(text);
    if (!status)
        print_next(config, &x, r->out);
    return status;
}

beam_status beam_verb_init(int argc, char **argv)
{
    request r = {.out = "."};
    const beam_option options[] = {
        {"out", BEAM_TEXT, &r.out, "DIR", "folder for the files (default: the current one)"},
        {"backend", BEAM_TEXT, &r.backend, "auto|cpu|cuda", "for a GPU, or the processor"},
        {"bf16", BEAM_FLAG, &r.bf16, NULL, "on a GPU: weights and activations in bfloat16"},
        {"memory", BEAM_REAL, &r.memory, "GB", "size it for so much memory instead of what is free here"},
    };
    const beam_command command = {
        .synopsis = "init MODEL",
        .about = "Writes run.yaml, a commented configuration that trains mask gates for a model, with "
                 "micro-batches and recomputation as `beam estimate` finds that they fit into the memory "
                 "that is free here, and the launch scripts scripts/launch/*. MODEL is a Hugging Face folder "
                 "or a config.json; the weights need not be there. Paths that are yours to say are marked "
                 "TO FILL IN. Nothing is overwritten.",
        .examples = "  beam init models/Qwen3-30B-A3B --out qwen3\n"
                    "  beam init config.json --backend cuda --bf16 --memory 141",
        .options = options,
        .n = sizeof options / sizeof *options,
        .min = 1,
        .max = 1,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    return init(&r, rest.at[0]);
}
