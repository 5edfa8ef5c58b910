#include "train/metrics.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

/* Bytes of the leading lines whose step is at most `step`; -1 with errno set if the file cannot be read.
 * Every line starts with {"step":N, . */
static long keep_until(FILE *f, int64_t step)
{
    char *line = NULL;
    size_t capacity = 0;
    long keep = 0;
    ssize_t n;
    while ((n = getline(&line, &capacity, f)) > 0) {
        long long at;
        if (line[n - 1] != '\n' || sscanf(line, "{\"step\":%lld", &at) != 1 || at > step)
            break;
        keep += n;
    }
    if (n < 0 && !feof(f))
        keep = -1;
    free(line);
    return keep;
}

static void warn_of_events(const beam_tensorboard *w)
{
    beam_warn("%s: cannot write: %s; training goes on without TensorBoard, metrics.jsonl has the numbers",
              w->path, strerror(errno));
}

beam_status beam_metrics_open(beam_metrics *m, const beam_config *c, int64_t step)
{
    snprintf(m->path, sizeof m->path, "%s/metrics.jsonl", c->output_dir);
    m->file = fopen(m->path, "a+");
    if (!m->file)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", m->path, strerror(errno));
    struct stat info;
    if (fstat(fileno(m->file), &info) != 0 || !S_ISREG(info.st_mode)) /* a device may have no end */
        return BEAM_FAIL(BEAM_EIO, "%s: not a regular file", m->path);
    rewind(m->file);
    const long keep = keep_until(m->file, step);
    if (keep < 0 || ftruncate(fileno(m->file), keep) != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot shorten to step %lld: %s", m->path, (long long)step,
                         strerror(errno));
    fseek(m->file, 0, SEEK_END);
    if (c->report_to == BEAM_REPORT_TENSORBOARD &&
        beam_tensorboard_open(&m->events, c->output_dir, step + 1) != 0)
        warn_of_events(&m->events);
    return BEAM_OK;
}

beam_status beam_metrics_close(beam_metrics *m)
{
    const int failed = m->file && fclose(m->file) != 0;
    m->file = NULL;
    beam_tensorboard_close(&m->events);
    return failed ? BEAM_FAIL(BEAM_EIO, "%s: cannot write: %s", m->path, strerror(errno)) : BEAM_OK;
}

void beam_metrics_abandon(beam_metrics *m)
{
    if (m->file)
        fclose(m->file);
    m->file = NULL;
    beam_tensorboard_close(&m->events);
}

/* JSON has no infinity and no NaN. */
static void print_value(FILE *f, double value, int digits)
{
    if (isfinite(value))
        fprintf(f, "%.*g", digits, value);
    else
        fputs("null", f);
}

/* "loss" is TensorBoard's train/loss, "eval_loss" its eval/loss: curves are grouped by the part before the
 * slash. */
static void number(beam_metrics *m, int64_t step, const char *key, double value)
{
    char tag[BEAM_TENSORBOARD_TAG];
    const bool eval = strncmp(key, "eval_", 5) == 0;
    fprintf(m->file, ",\"%s\":", key);
    print_value(m->file, value, 9);
    snprintf(tag, sizeof tag, "%s/%s", eval ? "eval" : "train", eval ? key + 5 : key);
    beam_tensorboard_add(&m->events, step, tag, value);
}

static void active(beam_metrics *m, const beam_trainer *t)
{
    char tag[BEAM_TENSORBOARD_TAG];
    fputs(",\"active\":[", m->file);
    for (int64_t i = 0; i < beam_moe_layers(beam_model_config_of(t->model)); i++) {
        fputs(i ? "," : "", m->file);
        print_value(m->file, t->active[i], 6);
        snprintf(tag, sizeof tag, "active/layer_%02lld", (long long)i);
        beam_tensorboard_add(&m->events, t->state.step, tag, t->active[i]);
    }
    fputc(']', m->file);
}

static beam_status end_line(beam_metrics *m)
{
    fputs("}\n", m->file);
    if (fflush(m->file) != 0 || ferror(m->file))
        return BEAM_FAIL(BEAM_EIO, "%s: cannot write: %s", m->path, strerror(errno));
    if (beam_tensorboard_flush(&m->events) != 0)
        warn_of_events(&m->events);
    return BEAM_OK;
}

beam_status beam_metrics_step(beam_metrics *m, const beam_trainer *t, const beam_step_result *r, double spent,
                              double waited)
{
    const int64_t step = t->state.step;
    fprintf(m->file, "{\"step\":%lld", (long long)step);
    number(m, step, "loss", r->loss);
    number(m, step, "task_loss", r->task_loss);
    number(m, step, "mask_loss", r->mask_loss);
    number(m, step, "avg_active", r->avg_active);
    number(m, step, "penalty", r->penalty);
    number(m, step, "grad_norm", r->grad_norm);
    number(m, step, "lr", r->learning_rate);
    if (t->config->router_aux_loss_coef > 0)
        number(m, step, "balance_loss", r->balance_loss);
    if (t->config->distill.weight > 0)
        number(m, step, "divergence", r->divergence);
    if (t->config->mask.union_penalty > 0)
        number(m, step, "union_loss", r->union_loss);
    number(m, step, "tokens_per_s", (double)r->tokens / spent);
    number(m, step, "data_wait", waited / spent);
    fputs(",\"seconds\":", m->file);
    print_value(m->file, t->state.seconds, 9);
    fprintf(m->file, ",\"tokens\":%lld,\"skipped\":%s", (long long)t->state.tokens,
            r->skipped ? "true" : "false");
    active(m, t);
    return end_line(m);
}

beam_status beam_metrics_eval(beam_metrics *m, const beam_trainer *t, const beam_eval_result *r)
{
    const int64_t step = t->state.step;
    fprintf(m->file, "{\"step\":%lld", (long long)step);
    number(m, step, "eval_loss", r->loss);
    number(m, step, "eval_accuracy", r->accuracy);
    number(m, step, "eval_avg_active", r->avg_active);
    number(m, step, "eval_moe_flops_saved", r->moe_flops_saved);
    return end_line(m);
}

void beam_progress(const beam_trainer *t, const beam_step_result *r, double tokens_per_s,
                   double seconds_per_step)
{
    const beam_model_config *c = beam_model_config_of(t->model);
    const int64_t left = (int64_t)(seconds_per_step * (double)(t->total_steps - t->state.step));
    const char *skipped = "";
    if (r->skipped)
        skipped = r->targets > 0 ? " | SKIPPED: not finite" : " | SKIPPED: no targets";
    char mask[128] = "";
    if (beam_model_rule(t->model).masks)
        snprintf(mask, sizeof mask, " (task %.4f mask %.3f) | active %.2f/%lld | beta %.3f", r->task_loss,
                 r->mask_loss, r->avg_active, (long long)c->top_k, r->penalty);
    beam_info(
        "step %lld/%lld %.1f%% | loss %.4f%s | gnorm %.3g | lr %.2e | %.0f tok/s | ETA %lld:%02lld:%02lld%s",
        (long long)t->state.step, (long long)t->total_steps,
        100.0 * (double)t->state.step / (double)t->total_steps, r->loss, mask, r->grad_norm, r->learning_rate,
        tokens_per_s, (long long)(left / 3600), (long long)(left / 60 % 60), (long long)(left % 60), skipped);
}
