#include "train/plan.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "data/file.h"
#include "data/results.h"
#include "data/safetensors.h"
#include "train/run.h"
#include "train/source.h"
#include "train/trainer.h"

static beam_status check_weights(const char *model)
{
    beam_weights *w;
    if (beam_model_source_random(model))
        return BEAM_OK;
    BEAM_TRY(beam_weights_open(model, &w));
    beam_weights_close(w);
    return BEAM_OK;
}

/* A GPU that is asked for must be there. */
static beam_status check_backend(const beam_config *c)
{
    beam_backend be;
    BEAM_TRY(beam_open_backend(c->backend, c->bf16, NULL, c->threads, &be));
    beam_backend_close(&be);
    return BEAM_OK;
}

static void count_rows(const beam_config *c, int ranks, beam_loader *train, const beam_loader *eval,
                       beam_plan *out)
{
    out->rows = beam_loader_rows(train);
    beam_loader_count(train, 0, out->rows, &out->targets, &out->tokens);
    out->step_rows = c->per_device_train_batch_size * c->gradient_accumulation_steps * ranks;
    out->steps = beam_run_steps(c, out->rows, out->step_rows);
    out->eval_rows = eval ? beam_loader_rows(eval) : 0;
    if (c->eval_rows > 0 && c->eval_rows < out->eval_rows)
        out->eval_rows = c->eval_rows;
}

static beam_status find_start(const beam_config *c, int ranks, const beam_loader *train, beam_plan *out)
{
    char newest[BEAM_PATH_MAX];
    beam_checkpoint_state found;
    BEAM_TRY(beam_run_choose_start(c, out->start, newest));
    if (strcmp(out->start, "none") != 0) {
        BEAM_TRY(beam_checkpoint_read_state(out->start, &found));
        const beam_checkpoint_state now = {.model_hash = found.model_hash, /* the weights are not read */
                                           .data_hash = beam_loader_hash(train),
                                           .config_hash = beam_config_hash(c, ranks)};
        BEAM_TRY(beam_run_check_resume(c, ranks, &now, out->start, &found));
        out->done = found.step;
    }
    return newest[0] && !beam_run_resumes_by_itself(c) ? beam_run_refuse_newer(newest, out->done) : BEAM_OK;
}

/* The mean of the last steps; a run without metrics has none. */
static double measured_rate(const char *folder)
{
    enum { LAST = 20 };
    beam_history h;
    double sum = 0;
    int64_t n = 0;
    if (beam_history_read(folder, &h) != BEAM_OK)
        return 0;
    const double *rate = beam_column(&h.steps, BEAM_TOKENS_PER_S);
    for (int64_t i = h.steps.rows - 1; i >= 0 && n < LAST; i--)
        if (rate[i] > 0) {
            sum += rate[i];
            n++;
        }
    beam_history_free(&h);
    return n > 0 ? sum / (double)n : 0;
}

/* Of the nearest folder above that is there. */
static int64_t disk_free(const char *folder)
{
    char path[BEAM_PATH_MAX];
    struct statvfs disk;
    snprintf(path, sizeof path, "%s", folder);
    for (char *slash = path + strlen(path); slash; slash = strrchr(path, '/')) {
        *slash = '\0';
        if (*path && statvfs(path, &disk) == 0)
            return (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    }
    return statvfs(*folder == '/' ? "/" : ".", &disk) == 0 ? (int64_t)disk.f_bavail * (int64_t)disk.f_frsize
                                                           : 0;
}

beam_status beam_plan_make(const beam_config *c, int ranks, beam_plan *out)
{
    const beam_gate_request gates = beam_gate_request_of(c);
    beam_model_config model;
    beam_loader *train = NULL, *eval = NULL;
    *out = (beam_plan){0};
    BEAM_TRY(check_backend(c));
    BEAM_TRY(beam_model_source_config(c->model_name_or_path, &gates, &model));
    beam_status status = beam_run_open_data(c, &train, &eval);
    if (!status)
        status = check_weights(c->model_name_or_path);
    if (!status)
        status = beam_run_check(c, &model, train, eval);
    if (!status) {
        count_rows(c, ranks, train, eval, out);
        status = find_start(c, ranks, train, out);
    }
    beam_loader_close(train);
    beam_loader_close(eval);
    if (status)
        return status;
    out->tokens_per_s = measured_rate(c->output_dir);
    out->disk_free = disk_free(c->output_dir);
    return BEAM_OK;
}

double beam_plan_tokens_left(const beam_plan *p)
{
    const int64_t steps = p->done < p->steps ? p->steps - p->done : 0;
    return (double)(steps * p->step_rows) * (double)p->tokens / (double)p->rows;
}
