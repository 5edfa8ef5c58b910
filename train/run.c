#include "train/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/host_memory.h"
#include "core/log.h"
#include "data/file.h"
#include "model/load.h"
#include "train/metrics.h"
#include "train/protect.h"
#include "train/signals.h"

static beam_status write_resolved(const beam_config *c, char **origins)
{
    char path[BEAM_PATH_MAX + 32], *text;
    BEAM_TRY(beam_join_path(path, sizeof path, c->output_dir, "config.resolved.yaml"));
    BEAM_TRY(beam_config_text(c, origins, &text));
    const beam_status status = beam_file_write(path, text, strlen(text));
    free(text);
    return status;
}

bool beam_run_resumes_by_itself(const beam_config *c)
{
    return strcmp(c->resume_from_checkpoint, "auto") == 0;
}

beam_status beam_run_refuse_newer(const char *newest, int64_t step)
{
    beam_checkpoint_state state;
    BEAM_TRY(beam_checkpoint_read_state(newest, &state));
    if (state.step <= step)
        return BEAM_OK;
    return BEAM_FAIL(
        BEAM_ECONFIG,
        "%s is there already, ahead of step %lld where this run would start. To go on from it say "
        "resume_from_checkpoint: auto; else use another output_dir, or move it and its like away",
        newest, (long long)step);
}

/* The super experts, from the run's first rows; the largest peaks first. */
static beam_status find_super_experts(beam_trainer *t, beam_protect *out)
{
    const int64_t batch = beam_trainer_rows(t);
    const int64_t rows = (BEAM_PROFILE_TOKENS - 1) / t->config->cutoff_len + 1;
    beam_expert_profile profile;
    BEAM_TRY(beam_expert_profile_make(t->model, t->train, rows > batch ? rows : batch, batch, &profile));
    beam_protect_of_profile(&profile, out);
    beam_info("mask.protect: %d of %lld experts are super experts, on %lld tokens", out->n,
              (long long)profile.n, (long long)profile.tokens);
    beam_expert_profile_free(&profile);
    return BEAM_OK;
}

/* What one rank failed at by itself, while the others would wait for it without an end. */
static beam_status alone(const beam_trainer *t, beam_status status)
{
    if (status == BEAM_OK || t->comm->size == 1)
        return status;
    beam_log(BEAM_LOG_ERROR, "%s", beam_last_error());
    beam_comm_abort(t->comm, beam_exit_code(status));
}

/* The gates in a checkpoint hold what its run protected, so a list is made only once. */
static beam_status protect(beam_trainer *t, const char *checkpoint)
{
    beam_protect p;
    BEAM_TRY(beam_protect_parse(t->config->mask.protect, "mask.protect", &p));
    if (checkpoint)
        return beam_protect_check(t->model, &p, checkpoint);
    if (p.automatic) {
        const beam_status status = find_super_experts(t, &p);
        BEAM_TRY(t->config->expert_parallel > 1 ? alone(t, status)
                                                : status); /* others may need its experts */
    }
    BEAM_TRY(beam_protect_set(t->model, &p));
    for (int i = 0; i < p.n; i++)
        beam_info("expert %lld of layer %lld is protected", (long long)p.at[i].expert,
                  (long long)p.at[i].layer);
    return BEAM_OK;
}

beam_status beam_run_choose_start(const beam_config *c, char path[BEAM_PATH_MAX], char newest[BEAM_PATH_MAX])
{
    bool found;
    BEAM_TRY(beam_checkpoint_newest(c->output_dir, newest, BEAM_PATH_MAX, &found));
    if (!found)
        newest[0] = '\0';
    const char *by_itself = found ? newest : "none";
    snprintf(path, BEAM_PATH_MAX, "%s",
             beam_run_resumes_by_itself(c) ? by_itself : c->resume_from_checkpoint);
    return BEAM_OK;
}

static beam_status resume(beam_trainer *t)
{
    const beam_config *c = t->config;
    char path[BEAM_PATH_MAX] = "", newest[BEAM_PATH_MAX] = "";
    const bool leads = t->comm->rank == 0;
    BEAM_TRY(beam_comm_verdict(t->comm, leads ? beam_run_choose_start(c, path, newest) : BEAM_OK));
    beam_comm_host_broadcast(t->comm, path, sizeof path, 0);
    const bool anew = strcmp(path, "none") == 0;
    if (!anew) {
        BEAM_TRY(beam_trainer_restore(t, path));
        beam_info("resumed from %s at step %lld", path, (long long)t->state.step);
    }
    beam_status status = protect(t, anew ? NULL : path);
    if (!status && newest[0] && !beam_run_resumes_by_itself(c))
        status = beam_run_refuse_newer(newest, t->state.step);
    return beam_comm_verdict(t->comm, status);
}

/* With hard masks, as the exported model runs, whatever form the steps train. */
static beam_status evaluate(beam_trainer *t, beam_metrics *metrics)
{
    beam_eval_result r;
    beam_expert_rule rule = beam_model_rule(t->model);
    rule.form = BEAM_MASK_HARD;
    rule.temperature = 1;
    beam_model_set_rule(t->model, rule);
    BEAM_TRY(beam_evaluate(t->model, t->eval, t->config->eval_rows, beam_trainer_rows(t), t->comm, &r));
    t->state.eval_loss = r.loss;
    beam_info("step %lld eval | loss %.4f | accuracy %.2f%% | active %.2f | %lld tokens in %.1f s",
              (long long)t->state.step, r.loss, 100 * r.accuracy, r.avg_active, (long long)r.targets,
              r.seconds);
    if (t->state.best_loss < 0 || r.loss < t->state.best_loss)
        t->state.best_loss = r.loss;
    const beam_status status = t->comm->rank == 0 ? beam_metrics_eval(metrics, t, &r) : BEAM_OK;
    beam_eval_free(&r);
    return status;
}

static beam_status save(beam_trainer *t, int *lock)
{
    const beam_config *c = t->config;
    const bool leads = t->comm->rank == 0;
    beam_status status = leads ? beam_run_lock_keep(c->output_dir, lock) : BEAM_OK;
    BEAM_TRY(beam_comm_verdict(t->comm, status));
    BEAM_TRY(beam_trainer_save(t));
    beam_debug("saved step %lld", (long long)t->state.step);
    if (leads)
        status = beam_checkpoint_prune(c->output_dir, (int)c->save_total_limit, t->state.step);
    return beam_comm_verdict(t->comm, status);
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* Whether the model as it is should be evaluated and has not been: also where a signal stopped the
 * evaluation, which the next start makes up for. */
static bool owes_evaluation(const beam_trainer *t)
{
    const int64_t step = t->state.step;
    return t->eval && step > 0 && t->state.eval_loss < 0 &&
           (due(step, t->config->eval_steps) || step == t->total_steps);
}

static beam_status stopped(const beam_trainer *t)
{
    return BEAM_FAIL(BEAM_STOPPED, "stopped at step %lld of %lld; %s goes on from there",
                     (long long)t->state.step, (long long)t->total_steps,
                     beam_run_resumes_by_itself(t->config) ? "the same command"
                                                           : "resume_from_checkpoint: auto");
}

/* The evaluation that the last start left out. Saved, or a start after a kill would log it again. */
static beam_status make_up(beam_trainer *t, beam_metrics *metrics, int *lock)
{
    const beam_status status = evaluate(t, metrics);
    if (status != BEAM_STOPPED)
        BEAM_TRY(alone(t, status));
    BEAM_TRY(save(t, lock));
    return status == BEAM_STOPPED ? stopped(t) : BEAM_OK;
}

/* What follows a step: evaluation, checkpoint, the end. A signal leaves the evaluation for later. */
static beam_status after_step(beam_trainer *t, beam_metrics *metrics, int *lock, bool signal, bool stop)
{
    const bool last = t->state.step == t->total_steps;
    if (owes_evaluation(t) && !signal) {
        const beam_status status = evaluate(t, metrics);
        signal = status == BEAM_STOPPED;
        if (!signal)
            BEAM_TRY(alone(t, status));
    }
    stop = (signal || stop) && (!last || owes_evaluation(t));
    if (due(t->state.step, t->config->save_steps) || last || stop)
        BEAM_TRY(save(t, lock));
    return stop ? stopped(t) : BEAM_OK;
}

/* Runs until the last step or a stop request, which saves, or a failure, which leaves the last checkpoint.
 * What is returned is known to all ranks. */
static beam_status steps(beam_trainer *t, beam_metrics *metrics, int *lock, int64_t stop_after)
{
    const int64_t first = t->state.step;
    double average = 0; /* seconds per step, moving */
    if (owes_evaluation(t))
        BEAM_TRY(make_up(t, metrics, lock));
    while (t->state.step < t->total_steps) {
        const double start = beam_seconds(), waited = t->data_seconds;
        beam_step_result r;
        const beam_status status = beam_trainer_step(t, &r);
        if (status != BEAM_OK && status != BEAM_ENUMERIC) /* the step did not happen */
            return alone(t, status);
        const double spent = beam_seconds() - start;
        average = average > 0 ? 0.9 * average + 0.1 * spent : spent;
        t->state.seconds += spent;
        if (t->comm->rank == 0)
            BEAM_TRY(alone(t, beam_metrics_step(metrics, t, &r, spent, t->data_seconds - waited)));
        if (due(t->state.step, t->config->logging_steps) || t->state.step == t->total_steps || r.skipped)
            beam_progress(t, &r, (double)r.tokens / spent, average);
        BEAM_TRY(status);
        BEAM_TRY(after_step(t, metrics, lock, r.stop, t->state.step - first == stop_after));
    }
    return BEAM_OK;
}

static void describe(beam_trainer *t)
{
    const beam_memory_plan m = beam_model_memory(t->model);
    const beam_params params = beam_model_params(t->model);
    int64_t all = 0, trained = 0;
    for (int i = 0; i < params.n; i++) {
        all += beam_model_numbers(t->model, &params.at[i]);
        trained += params.at[i].flags & BEAM_TRAIN ? beam_count(params.at[i].value) : 0;
    }
    beam_info("%s: %.3f M parameters, %.3f M train; %lld rows of %lld tokens per epoch, %lld steps",
              t->config->model_name_or_path, 1e-6 * (double)all, 1e-6 * (double)trained,
              (long long)beam_loader_rows(t->train), (long long)t->config->cutoff_len,
              (long long)t->total_steps);
    int64_t targets, tokens;
    beam_loader_count(t->train, 0, beam_loader_rows(t->train), &targets, &tokens);
    beam_info("rows: %.1f%% of their places hold tokens, %.1f%% of the tokens are targets",
              100.0 * (double)tokens / ((double)beam_loader_rows(t->train) * (double)t->config->cutoff_len),
              100.0 * (double)targets / (double)tokens);
    const double mib = 1 << 20;
    beam_info("memory: parameters %.1f MiB, gradients %.1f, optimizer %.1f, activations %.1f, scratch %.1f",
              (double)m.parameters / mib, (double)(m.gradients + t->sum.tree.bytes + t->sum.bytes) / mib,
              (double)t->adamw.bytes / mib, (double)m.activations / mib, (double)m.scratch / mib);
    if (t->backend.device_memory)
        beam_info("a GPU computes, in %s; backend: cpu takes the processor",
                  beam_dtype_name(t->backend.real));
    if (t->comm->size > 1)
        beam_info("%d ranks over %s: a step is %lld micro-batches of %lld rows", t->comm->size,
                  t->comm->ops->name, (long long)(t->comm->size * t->config->gradient_accumulation_steps),
                  (long long)beam_trainer_rows(t));
    if (t->config->expert_parallel > 1)
        beam_info("%lld ranks share the experts of every layer", (long long)t->config->expert_parallel);
    if (t->config->gradient_accumulation_steps & (t->config->gradient_accumulation_steps - 1))
        beam_info(
            "gradient_accumulation_steps is not a power of two: sums will differ between numbers of ranks");
}

/* Ranks beyond 0 log only where they see the folder. */
static beam_status open_log(const beam_config *c, int rank)
{
    char name[32], log[BEAM_PATH_MAX + 32];
    snprintf(name, sizeof name, "log.%d.txt", rank);
    BEAM_TRY(beam_join_path(log, sizeof log, c->output_dir, name));
    if (beam_log_also_to(log) == 0)
        return BEAM_OK;
    if (rank == 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", log, strerror(errno));
    beam_warn("%s: cannot open: %s; this rank goes on without a log", log, strerror(errno));
    return BEAM_OK;
}

/* Not before resuming: what is refused leaves the folder's own configuration alone. */
static beam_status open_output(const beam_trainer *t, char **origins, beam_metrics *metrics)
{
    BEAM_TRY(write_resolved(t->config, origins));
    return beam_metrics_open(metrics, t->config, t->state.step);
}

/* `seconds`: of this process's steps. */
static void describe_end(const beam_trainer *t, double seconds)
{
    const double mib = 1 << 20;
    beam_info("memory: at most %.1f MiB were in use", (double)beam_host_memory_peak() / mib);
    if (seconds > 0)
        beam_info("data: steps waited %.2f s for it, %.2f%% of their time", t->data_seconds,
                  100 * t->data_seconds / seconds);
    if (t->comm->size > 1)
        beam_info("ranks: this one sent %.1f MiB and waited %.1f s for others", (double)t->comm->sent / mib,
                  t->comm->waited);
}

static beam_status run_locked(const beam_config *c, char **origins, int64_t stop_after, beam_comm *comm,
                              int *lock)
{
    const bool leads = comm->rank == 0;
    beam_trainer t;
    beam_metrics metrics = {0};
    BEAM_TRY(beam_comm_verdict(comm, open_log(c, comm->rank)));
    beam_signals_listen();
    beam_status status = beam_trainer_open(&t, c, comm);
    if (!status)
        status = beam_comm_agree(comm, "--stop-after", (uint64_t)stop_after);
    if (!status)
        status = resume(&t);
    if (!status)
        status = beam_comm_verdict(comm, leads ? open_output(&t, origins, &metrics) : BEAM_OK);
    if (!status) {
        const double before = t.state.seconds;
        describe(&t);
        status = steps(&t, &metrics, lock, stop_after);
        describe_end(&t, t.state.seconds - before);
    }
    if (status)
        beam_metrics_abandon(&metrics);
    else
        status = beam_comm_verdict(comm, beam_metrics_close(&metrics));
    beam_trainer_close(&t);
    return status;
}

beam_status beam_train(const beam_config *c, char **origins, int64_t stop_after, beam_comm *comm)
{
    int lock = -1;
    if (comm->size > 1)
        beam_log_as_rank(comm->rank);
    beam_status status = comm->rank == 0 ? beam_run_lock(c->output_dir, &lock) : BEAM_OK;
    status = beam_comm_verdict(comm, status);
    if (!status)
        status = run_locked(c, origins, stop_after, comm, &lock);
    beam_log_also_to(NULL);
    if (lock >= 0)
        beam_run_unlock(lock);
    return status;
}
