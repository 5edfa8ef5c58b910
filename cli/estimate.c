/* beam estimate: what a configuration takes of this machine, before anything is loaded. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/forecast.h"
#include "cli/printer.h"
#include "cli/quantity.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "train/source.h"

typedef struct {
    const char *backend; /* --backend */
    bool bf16, json, measure;
    double tokens_per_s; /* --tokens-per-s; then what was measured; 0: unknown */
    beam_forecast forecast;
} request;

/* The name of a model, if this is one rather than a configuration file. */
static bool names_model(const char *path)
{
    return beam_model_source_random(path) || beam_path_ends(path, ".json") || beam_folder_exists(path);
}

/* The dataset is not looked at, and so it may be missing. */
static beam_status load(const beam_args *rest, const request *r, beam_config *out)
{
    enum { OURS = 4 };
    char backend[64];
    char model[BEAM_PATH_MAX + 64];
    const char *first = rest->at[0];
    const bool bare = names_model(first);
    const bool json = !beam_model_source_random(first) && beam_path_ends(first, ".json");
    snprintf(model, sizeof model, "model_name_or_path=%s%.*s", json ? "random:" : "", BEAM_PATH_MAX, first);
    const char **overrides = malloc((size_t)(rest->n + OURS) * sizeof *overrides);
    if (!overrides)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the command line");
    int n = 0;
    overrides[n++] = "dataset=unused";
    if (bare)
        overrides[n++] = model;
    for (int i = 1; i < rest->n; i++)
        overrides[n++] = rest->at[i];
    snprintf(backend, sizeof backend, "backend=%.40s", r->backend ? r->backend : "");
    if (r->backend)
        overrides[n++] = backend;
    if (r->bf16)
        overrides[n++] = "bf16=true";
    const beam_status status = beam_config_load(bare ? NULL : first, overrides, n, out, NULL);
    free(overrides);
    return status;
}

/* Tokens of a step, of all ranks, without padding. */
static double step_tokens(const beam_forecast *f)
{
    const beam_config *c = &f->config;
    const int64_t rows = c->per_device_train_batch_size * c->gradient_accumulation_steps * f->ranks;
    return (double)(rows * c->cutoff_len);
}

static beam_status measure(request *r)
{
    double seconds;
    beam_forecast *f = &r->forecast;
    if (f->config.expert_parallel > 1)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--measure is for one process, which cannot hold a share of the experts; leave "
                         "out expert_parallel, or use --tokens-per-s");
    BEAM_TRY(beam_estimate_measure(&f->config, &f->estimate, &seconds));
    r->tokens_per_s = (double)f->ranks * step_tokens(f) / seconds;
    return BEAM_OK;
}

static void print_time(const request *r)
{
    beam_quantity q;
    const beam_forecast *f = &r->forecast;
    printf("\ntime\n");
    if (!(r->tokens_per_s > 0)) {
        beam_forecast_print_line(
            "step",
            "unknown: --measure times a few steps here, --tokens-per-s takes a rate measured elsewhere");
        return;
    }
    const double seconds = step_tokens(f) / r->tokens_per_s;
    printf("  %-18s %12s  at %.4g tokens/s%s\n", "step", beam_quantity_seconds(&q, seconds), r->tokens_per_s,
           !r->measure    ? ""
           : f->ranks > 1 ? ", measured on one rank, without exchanges"
                          : ", measured");
    if (f->config.max_steps > 0)
        printf("  %-18s %12s  %" PRId64 " steps, without evaluation and saving\n", "run",
               beam_quantity_seconds(&q, seconds * (double)f->config.max_steps), f->config.max_steps);
}

static void put_memory(beam_printer *p, const char *key, const beam_memory_need *m)
{
    beam_print_key(p, key);
    beam_printer part = beam_print_open(stdout);
    beam_print_i64(&part, "parameters", (int64_t)m->model.parameters);
    beam_print_i64(&part, "gradients", (int64_t)m->model.gradients);
    beam_print_i64(&part, "accumulation", (int64_t)m->accumulation);
    beam_print_i64(&part, "receiving", (int64_t)m->receiving);
    beam_print_i64(&part, "optimizer", (int64_t)m->optimizer);
    beam_print_i64(&part, "activations", (int64_t)m->model.activations);
    beam_print_i64(&part, "scratch", (int64_t)m->model.scratch);
    beam_print_i64(&part, "program", (int64_t)m->program);
    beam_print_i64(&part, "saving", (int64_t)m->saving);
    if (m->device)
        beam_print_i64(&part, "host", (int64_t)m->host);
    beam_print_i64(&part, "total", (int64_t)m->total);
    beam_print_close(&part);
}

static void put_advice(beam_printer *p, const beam_forecast *v)
{
    beam_print_key(p, "advice");
    putchar('[');
    for (int i = 0; i < v->n_advice; i++) {
        if (i > 0)
            putchar(',');
        beam_printer one = beam_print_open(stdout);
        beam_print_text(&one, "keys", v->advice[i].keys);
        beam_print_i64(&one, "total", (int64_t)v->advice[i].total);
        beam_print_close(&one);
    }
    putchar(']');
}

static void put_time(beam_printer *p, const request *r)
{
    const double seconds = r->tokens_per_s > 0 ? step_tokens(&r->forecast) / r->tokens_per_s : NAN;
    const int64_t steps = r->forecast.config.max_steps;
    beam_print_f64(p, "tokens_per_s", r->tokens_per_s > 0 ? r->tokens_per_s : NAN);
    beam_print_f64(p, "step_seconds", seconds);
    beam_print_f64(p, "run_seconds", steps > 0 ? seconds * (double)steps : NAN);
}

static void print_json(const request *r)
{
    const beam_forecast *v = &r->forecast;
    const beam_estimate *e = &v->estimate;
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "model", v->config.model_name_or_path);
    beam_print_text(&p, "model_type", e->model.model_type);
    beam_print_bool(&p, "device", e->place.device);
    beam_print_text(&p, "real", beam_dtype_name(e->place.real));
    beam_print_i64(&p, "ranks", v->ranks);
    beam_print_i64(&p, "parameters", e->count.total);
    beam_print_i64(&p, "active_parameters", e->count.active);
    beam_print_i64(&p, "gate_parameters", e->count.gates);
    beam_print_i64(&p, "trained_parameters", e->train.trained);
    beam_print_f64(&p, "flops_per_step", e->step_flops);
    beam_print_f64(&p, "flops_at_active", e->active);
    put_memory(&p, "training_bytes", &e->train);
    put_memory(&p, "evaluation_bytes", &e->eval);
    beam_print_i64(&p, "machine_bytes", v->machine.total);
    beam_print_i64(&p, "available_bytes", v->machine.available);
    beam_print_i64(&p, "checkpoint_bytes", (int64_t)e->checkpoint);
    beam_print_i64(&p, "checkpoints", e->checkpoints);
    beam_print_i64(&p, "export_bytes", (int64_t)e->export);
    put_time(&p, r);
    beam_print_bool(&p, "fits", v->fits);
    put_advice(&p, v);
    beam_print_end(&p);
}

static const char about[] =
    "Says what training as configured will take: memory by purpose, disk, floating-point operations per "
    "step; whether it fits into this machine's free memory, and if not, which settings would make it fit "
    "(exit code 2). With --ranks: what each rank of such a job takes. Reads config.json only: the weights "
    "and the dataset need not be there. CONFIG may also be a model folder, a config.json or "
    "random:<config.json>: training its mask gates with default settings.\n\n"
    "Time comes from a measured rate: --measure times three passes of random numbers in the model's shape "
    "here (it needs the memory that training does); --tokens-per-s takes what `beam bench train` or a "
    "run's own progress line said. Operations and time are those of rows without padding; recomputation is "
    "not counted as an operation. With --backend cuda, memory is the GPU's, which need not be here.";

static const char examples[] = "  beam estimate configs/tiny-moe-masks.yaml --measure\n"
                               "  beam estimate run.yaml trainable=all per_device_train_batch_size=4\n"
                               "  beam estimate Qwen3-30B-A3B/config.json cutoff_len=4096 --json\n"
                               "  beam estimate Qwen3-30B-A3B/config.json --backend cuda --bf16 --memory 141";

/* Parses and checks; help: nothing else is to be done. */
static beam_status parse(int argc, char **argv, request *r, beam_args *rest)
{
    beam_forecast *f = &r->forecast;
    const beam_option options[] = {
        {"ranks", BEAM_INT, &f->ranks, "N", "of a job of N ranks; memory is that of each (default: 1)"},
        {"backend", BEAM_TEXT, &r->backend, "auto|cpu|cuda", "as backend=: of a GPU, or the processor"},
        {"bf16", BEAM_FLAG, &r->bf16, NULL, "as bf16=true: on a GPU, weights and activations in bfloat16"},
        {"memory", BEAM_REAL, &f->memory, "GB", "judge by so much memory instead of what is here"},
        {"measure", BEAM_FLAG, &r->measure, NULL, "time a few passes here"},
        {"tokens-per-s", BEAM_REAL, &r->tokens_per_s, "R", "a rate of the whole job, measured elsewhere"},
        {"json", BEAM_FLAG, &r->json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "estimate CONFIG [key=value ...]",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options,
                                  .min = 1,
                                  .overrides = true};
    BEAM_TRY(beam_args_parse(&command, argc, argv, rest));
    if (!(r->tokens_per_s >= 0) || (r->measure && r->tokens_per_s > 0))
        return BEAM_FAIL(BEAM_ECONFIG, "--tokens-per-s takes a positive number, and not with --measure");
    return BEAM_OK;
}

beam_status beam_verb_estimate(int argc, char **argv)
{
    request r = {.forecast.ranks = 1};
    beam_forecast *f = &r.forecast;
    beam_args rest;
    BEAM_TRY(parse(argc, argv, &r, &rest));
    if (rest.help)
        return BEAM_OK;
    BEAM_TRY(load(&rest, &r, &f->config));
    BEAM_TRY(beam_forecast_make(f));
    const beam_status measured = r.measure && f->fits ? measure(&r) : BEAM_OK;
    if (r.json) {
        print_json(&r);
    } else {
        beam_forecast_print_model(f);
        beam_forecast_print_memory(f);
        print_time(&r);
        beam_forecast_print_verdict(f);
    }
    return measured ? measured : beam_forecast_require(f);
}
