/* beam estimate: what a configuration takes of this machine, before anything is loaded. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/printer.h"
#include "cli/quantity.h"
#include "cli/verbs.h"
#include "data/file.h"
#include "train/estimate.h"
#include "train/source.h"

enum { MOST_RANKS = 1 << 16 };

typedef struct {
    beam_config config;
    int64_t ranks;
    const char *backend; /* --backend */
    bool bf16;
    double memory; /* --memory, GB; 0: what is here */
    beam_estimate estimate;
    beam_host_memory machine; /* or the GPU's, if one computes */
    bool known, fits;         /* known: what there is */
    beam_advice advice[BEAM_ADVICE];
    int n_advice;
} verdict;

/* The name of a model, if this is one rather than a configuration file. */
static bool names_model(const char *path)
{
    return beam_model_source_random(path) || beam_path_ends(path, ".json") || beam_folder_exists(path);
}

/* The dataset is not looked at, and so it may be missing. */
static beam_status load(const beam_args *rest, const verdict *v, beam_config *out)
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
    snprintf(backend, sizeof backend, "backend=%.40s", v->backend ? v->backend : "");
    if (v->backend)
        overrides[n++] = backend;
    if (v->bf16)
        overrides[n++] = "bf16=true";
    const beam_status status = beam_config_load(bare ? NULL : first, overrides, n, out, NULL);
    free(overrides);
    return status;
}

static beam_status judge(verdict *v)
{
    BEAM_TRY(beam_estimate_make(&v->config, (int)v->ranks, &v->estimate));
    if (v->memory > 0)
        v->machine.total = v->machine.available = (int64_t)(1e9 * v->memory);
    else if (v->estimate.place.device)
        beam_device_memory_look(&v->machine);
    else
        beam_host_memory_look("", &v->machine);
    v->known = v->machine.total > 0;
    v->fits = !v->known || (int64_t)v->estimate.train.total <= v->machine.available;
    return v->fits ? BEAM_OK
                   : beam_estimate_advise(&v->config, (int)v->ranks, v->machine.available, v->advice,
                                          &v->n_advice);
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

static void print_model(const verdict *v)
{
    beam_quantity q;
    const beam_estimate *e = &v->estimate;
    const beam_config *c = &v->config;
    const int64_t passes = c->gradient_accumulation_steps * v->ranks;
    const int64_t rows = passes * c->per_device_train_batch_size;
    printf("model         %s: %s\n", c->model_name_or_path, e->model.model_type);
    printf("parameters    %s\n", beam_quantity_parameters(&q, e->count.total, e->count.active));
    printf("mask gates    %s\n", beam_quantity_digits(&q, e->count.gates));
    printf("trained       %s\n", beam_quantity_digits(&q, e->train.trained));
    printf("step          %" PRId64 " row%s of %" PRId64 " tokens in %" PRId64 " pass%s: ", rows,
           plural(rows), c->cutoff_len, passes, passes == 1 ? "" : "es");
    if (v->ranks > 1)
        printf("on %" PRId64 " ranks, ", v->ranks);
    printf("%s while %g of %" PRId64 " experts are kept\n", beam_quantity_flops(&q, e->step_flops), e->active,
           e->model.top_k);
}

static void print_bytes(const char *name, size_t bytes, const char *note)
{
    beam_quantity q;
    if (bytes > 0)
        printf("  %-18s %12s%s%s\n", name, beam_quantity_bytes(&q, (double)bytes), *note ? "  " : "", note);
}

static void print_memory(const verdict *v)
{
    const beam_memory_need *m = &v->estimate.train;
    const bool bf16 = v->estimate.place.real == BEAM_BF16;
    printf("\nmemory of training%s%s\n", m->device ? " on a GPU" : "", v->ranks > 1 ? ", of each rank" : "");
    print_bytes("parameters", m->model.parameters, bf16 ? "bfloat16, routers and gates float32" : "float32");
    print_bytes("gradients", m->model.gradients, "");
    print_bytes("accumulation", m->accumulation, "sums of gradients");
    print_bytes("receiving", m->receiving, "gradients of other ranks");
    print_bytes("optimizer", m->optimizer, v->ranks > 1 ? "AdamW's moments of its share" : "AdamW's moments");
    print_bytes("activations", m->model.activations, "");
    print_bytes("scratch", m->model.scratch, "");
    print_bytes("program", m->program, m->device ? "CUDA and its libraries; assumed, all else is exact" : "");
    if (m->device) {
        print_bytes("total", m->total, "");
        print_bytes("host", m->host, "beside it, and 5 bytes per token of the token files");
    } else {
        print_bytes("saving", m->saving, "while a checkpoint is written");
        print_bytes("total", m->total, "at most, and 5 bytes per token of the token files");
    }
    print_bytes("evaluation", v->estimate.eval.total, "beam eval with batches of this size");
    if (v->known) {
        print_bytes(m->device ? "GPU" : "machine", (size_t)v->machine.total, "");
        print_bytes("free now", (size_t)v->machine.available, "");
    }
    printf("\ndisk\n");
    print_bytes("checkpoint", v->estimate.checkpoint, "at most");
    print_bytes("checkpoints", v->estimate.checkpoint * (uint64_t)v->estimate.checkpoints,
                "save_total_limit of them and the one being written");
    print_bytes("export", v->estimate.export, "");
}

static void print_verdict(const verdict *v)
{
    printf("\n%s\n", !v->known ? v->estimate.place.device
                                     ? "no verdict: there is no GPU here; --memory GB says what it has"
                                     : "no verdict: this system does not say how much memory there is"
                     : v->fits ? "fits"
                               : "does not fit");
    for (int i = 0; i < v->n_advice; i++) {
        beam_quantity q;
        printf("  it would with %s: %s\n", v->advice[i].keys,
               beam_quantity_bytes(&q, (double)v->advice[i].total));
    }
    if (!v->fits && v->n_advice == 0) {
        beam_quantity q;
        printf("  no setting of batches, recomputation or trainable makes it fit: the parameters alone take "
               "%s\n",
               beam_quantity_bytes(&q, (double)v->estimate.train.model.parameters));
    }
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

static void put_advice(beam_printer *p, const verdict *v)
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

static void print_json(const verdict *v)
{
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
    beam_print_bool(&p, "fits", v->fits);
    put_advice(&p, v);
    beam_print_end(&p);
}

static beam_status refuse(const verdict *v)
{
    beam_quantity need, have, total;
    if (v->fits)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG, "%s does not fit: training needs %s of memory; %s of %s are free",
                     v->config.model_name_or_path,
                     beam_quantity_bytes(&need, (double)v->estimate.train.total),
                     beam_quantity_bytes(&have, (double)v->machine.available),
                     beam_quantity_bytes(&total, (double)v->machine.total));
}

static const char about[] =
    "Says what training as configured will take: memory by purpose, disk, floating-point operations per "
    "step;\n"
    "whether it fits into this machine's free memory, and if not, which settings would make it fit (exit "
    "code\n"
    "2). With --ranks: what each rank of such a job takes. Reads config.json only: the weights and the "
    "dataset need not be there. CONFIG may also be a model\n"
    "folder, a config.json or random:<config.json>: training its mask gates with default settings.\n\n"
    "No time is given: `beam bench train` measures it. Operations are those of rows without padding;\n"
    "recomputation is not counted. With --backend cuda, memory is the GPU's, which need not be here.";

static const char examples[] = "  beam estimate configs/tiny-moe-masks.yaml\n"
                               "  beam estimate run.yaml trainable=all per_device_train_batch_size=4\n"
                               "  beam estimate Qwen3-30B-A3B/config.json cutoff_len=4096 --json\n"
                               "  beam estimate Qwen3-30B-A3B/config.json --backend cuda --bf16 --memory 141";

beam_status beam_verb_estimate(int argc, char **argv)
{
    bool json = false;
    verdict v = {.ranks = 1};
    const beam_option options[] = {
        {"ranks", BEAM_INT, &v.ranks, "N", "of a job of N ranks; memory is that of each (default: 1)"},
        {"backend", BEAM_TEXT, &v.backend, "auto|cpu|cuda", "as backend=: of a GPU, or the processor"},
        {"bf16", BEAM_FLAG, &v.bf16, NULL, "as bf16=true: on a GPU, weights and activations in bfloat16"},
        {"memory", BEAM_REAL, &v.memory, "GB", "judge by so much memory instead of what is here"},
        {"json", BEAM_FLAG, &json, NULL, "print one JSON object"},
    };
    const beam_command command = {.synopsis = "estimate CONFIG [key=value ...]",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options,
                                  .min = 1,
                                  .overrides = true};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    if (v.ranks < 1 || v.ranks > MOST_RANKS)
        return BEAM_FAIL(BEAM_ECONFIG, "--ranks %" PRId64 ": expected a number from 1 to %d", v.ranks,
                         MOST_RANKS);
    if (!(v.memory >= 0 && v.memory <= 1e9))
        return BEAM_FAIL(BEAM_ECONFIG, "--memory %g: expected gigabytes", v.memory);
    BEAM_TRY(load(&rest, &v, &v.config));
    BEAM_TRY(judge(&v));
    if (json) {
        print_json(&v);
    } else {
        print_model(&v);
        print_memory(&v);
        print_verdict(&v);
    }
    return refuse(&v);
}
