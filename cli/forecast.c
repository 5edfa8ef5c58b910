#include "cli/forecast.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli/quantity.h"
#include "core/terminal.h"
#include "train/source.h"

beam_status beam_forecast_make(beam_forecast *f)
{
    if (f->ranks < 1 || f->ranks > BEAM_MOST_RANKS)
        return BEAM_FAIL(BEAM_ECONFIG, "--ranks %" PRId64 ": expected a number from 1 to %d", f->ranks,
                         BEAM_MOST_RANKS);
    if (!(f->memory >= 0 && f->memory <= 1e9))
        return BEAM_FAIL(BEAM_ECONFIG, "--memory %g: expected gigabytes", f->memory);
    f->n_advice = 0;
    BEAM_TRY(beam_estimate_make(&f->config, (int)f->ranks, &f->estimate));
    if (f->memory > 0)
        f->machine.total = f->machine.available = (int64_t)(1e9 * f->memory);
    else if (f->estimate.place.device)
        beam_device_memory_look(&f->machine);
    else
        beam_host_memory_look("", &f->machine);
    f->known = f->machine.total > 0;
    f->fits = !f->known || (int64_t)f->estimate.train.total <= f->machine.available;
    return f->fits ? BEAM_OK
                   : beam_estimate_advise(&f->config, (int)f->ranks, f->machine.available, f->advice,
                                          &f->n_advice);
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

void beam_forecast_print_model(const beam_forecast *f)
{
    enum { STEP_COLUMN = 14 };
    beam_quantity q;
    const beam_estimate *e = &f->estimate;
    const beam_config *c = &f->config;
    const int64_t passes = c->gradient_accumulation_steps * f->ranks;
    const int64_t rows = passes * c->per_device_train_batch_size;
    printf("model         %s: %s\n", c->model_name_or_path, e->model.model_type);
    printf("parameters    %s\n", beam_quantity_parameters(&q, e->count.total, e->count.active));
    printf("mask gates    %s\n", beam_quantity_digits(&q, e->count.gates));
    printf("trained       %s\n", beam_quantity_digits(&q, e->train.trained));
    char text[256], on_ranks[48] = "";
    if (f->ranks > 1)
        snprintf(on_ranks, sizeof on_ranks, "on %" PRId64 " ranks, ", f->ranks);
    snprintf(text, sizeof text,
             "%" PRId64 " row%s of %" PRId64 " tokens in %" PRId64 " pass%s: %s%s while %g of %" PRId64
             " experts are kept",
             rows, plural(rows), c->cutoff_len, passes, passes == 1 ? "" : "es", on_ranks,
             beam_quantity_flops(&q, e->step_flops), e->active, e->model.top_k);
    printf("step          ");
    beam_print_wrapped(stdout, text, STEP_COLUMN, STEP_COLUMN, beam_text_columns(stdout));
}

void beam_forecast_print_bytes(const char *name, uint64_t bytes, const char *note)
{
    enum { COLUMN = 35 };
    beam_quantity q;
    if (bytes == 0)
        return;
    printf("  %-18s %12s%s", name, beam_quantity_bytes(&q, (double)bytes), *note ? "  " : "");
    beam_print_wrapped(stdout, note, COLUMN, COLUMN, beam_text_columns(stdout));
}

void beam_forecast_print_line(const char *name, const char *fmt, ...)
{
    enum { COLUMN = 21 };
    char text[2 * BEAM_PATH_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    printf("  %-18s ", name);
    beam_print_wrapped(stdout, text, COLUMN, COLUMN, beam_text_columns(stdout));
}

void beam_forecast_print_memory(const beam_forecast *f)
{
    const beam_memory_need *m = &f->estimate.train;
    const char *types = f->estimate.place.real != BEAM_BF16 ? "float32"
                        : f->config.trainable == BEAM_TRAIN_ALL
                            ? "float32, with copies in bfloat16 to compute with"
                            : "bfloat16, routers and gates float32";
    printf("\nmemory of training%s%s\n", m->device ? " on a GPU" : "", f->ranks > 1 ? ", of each rank" : "");
    beam_forecast_print_bytes("parameters", m->model.parameters, types);
    beam_forecast_print_bytes("gradients", m->model.gradients, "");
    beam_forecast_print_bytes("accumulation", m->accumulation, "sums of gradients");
    beam_forecast_print_bytes("receiving", m->receiving, "gradients of other ranks");
    beam_forecast_print_bytes("optimizer", m->optimizer,
                              f->ranks > 1 ? "AdamW's moments of its share" : "AdamW's moments");
    beam_forecast_print_bytes("activations", m->model.activations, "");
    beam_forecast_print_bytes("scratch", m->model.scratch, "");
    beam_forecast_print_bytes("program", m->program,
                              m->device ? "CUDA and its libraries; assumed, all else is exact" : "");
    if (m->device) {
        beam_forecast_print_bytes("total", m->total, "");
        beam_forecast_print_bytes("host", m->host, "beside it, and 5 bytes per token of the token files");
    } else {
        beam_forecast_print_bytes("saving", m->saving, "while a checkpoint is written");
        beam_forecast_print_bytes("total", m->total, "at most, and 5 bytes per token of the token files");
    }
    beam_forecast_print_bytes("evaluation", f->estimate.eval.total, "beam eval with batches of this size");
    if (f->known) {
        beam_forecast_print_bytes(m->device ? "GPU" : "machine", (size_t)f->machine.total, "");
        beam_forecast_print_bytes("free now", (size_t)f->machine.available, "");
    }
    printf("\ndisk\n");
    beam_forecast_print_bytes("checkpoint", f->estimate.checkpoint, "at most");
    beam_forecast_print_bytes("checkpoints", f->estimate.checkpoint * (uint64_t)f->estimate.checkpoints,
                              "save_total_limit of them and the one being written");
    beam_forecast_print_bytes("export", f->estimate.export, "");
}

void beam_forecast_print_verdict(const beam_forecast *f)
{
    printf("\n%s\n", !f->known ? f->estimate.place.device
                                     ? "no verdict: there is no GPU here; --memory GB says what it has"
                                     : "no verdict: this system does not say how much memory there is"
                     : f->fits ? "fits"
                               : "does not fit");
    for (int i = 0; i < f->n_advice; i++) {
        beam_quantity q;
        printf("  it would with %s: %s\n", f->advice[i].keys,
               beam_quantity_bytes(&q, (double)f->advice[i].total));
    }
    if (!f->fits && f->n_advice == 0) {
        beam_quantity q;
        printf("  no setting of batches, recomputation or trainable makes it fit: the parameters alone take "
               "%s\n",
               beam_quantity_bytes(&q, (double)f->estimate.train.model.parameters));
    }
}

beam_status beam_forecast_require(const beam_forecast *f)
{
    beam_quantity need, have, total;
    if (f->fits)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG, "%s does not fit: training needs %s of memory; %s of %s are free",
                     f->config.model_name_or_path,
                     beam_quantity_bytes(&need, (double)f->estimate.train.total),
                     beam_quantity_bytes(&have, (double)f->machine.available),
                     beam_quantity_bytes(&total, (double)f->machine.total));
}
