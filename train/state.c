/* A trainer's state to and from a checkpoint. The file holds whole tensors, so that it does not say how many
 * ranks wrote it. Between steps nobody needs the gradients: the ranks' shares of the moments meet there. */
#include <stdlib.h>
#include <string.h>

#include "train/snapshot.h"
#include "train/trainer.h"

static const struct {
    beam_moment moment;
    beam_snapshot_kind kind;
} moments[] = {{BEAM_MOMENT_FIRST, BEAM_SNAPSHOT_MOMENT1}, {BEAM_MOMENT_SECOND, BEAM_SNAPSHOT_MOMENT2}};
enum { MOMENTS = sizeof moments / sizeof moments[0] };

static beam_status write_snapshot(const beam_trainer *t, const beam_snapshot *s)
{
    char *text;
    BEAM_TRY(beam_config_text(t->config, NULL, &text));
    const beam_status status = beam_checkpoint_write(t->config->output_dir, &t->state, s->arrays, s->n, text);
    free(text);
    return status;
}

beam_status beam_trainer_save(beam_trainer *t)
{
    const bool writes = t->comm->rank == 0;
    const beam_tensor meeting = beam_model_grads(t->model);
    beam_snapshot s = {0};
    beam_status status = BEAM_OK;
    if (writes)
        status = beam_snapshot_open(&s, beam_model_params(t->model), BEAM_TRAIN, true);
    if (writes && !status)
        status = beam_snapshot_download(&s, BEAM_SNAPSHOT_VALUE, &t->backend);
    for (int i = 0; i < MOMENTS; i++) { /* whatever has failed: the other ranks wait for this one's share */
        beam_adamw_give(&t->adamw, &t->backend, moments[i].moment, meeting);
        beam_sum_gather(&t->sum, meeting);
        if (writes && !status)
            status = beam_snapshot_download(&s, moments[i].kind, &t->backend);
    }
    if (!status)
        status = t->comm->status ? t->comm->status : beam_sync(&t->backend);
    if (writes && !status)
        status = write_snapshot(t, &s);
    beam_snapshot_close(&s);
    return beam_comm_verdict(t->comm, status);
}

/* A checkpoint of steps of another size names the setting that gives its size here. */
static beam_status refuse_settings(const beam_config *c, long long ranks, const char *path,
                                   const beam_checkpoint_state *found)
{
    const long long now = ranks * c->gradient_accumulation_steps;
    const int64_t step_rows = found->step > 0 ? found->rows / found->step : 0;
    const long long then = step_rows / c->per_device_train_batch_size;
    if (then > 0 && then != now && then * c->per_device_train_batch_size * found->step == found->rows) {
        if (then % ranks == 0)
            return BEAM_FAIL(BEAM_ECONFIG,
                             "%s: its steps had %lld micro-batches, those of %lld ranks with "
                             "gradient_accumulation_steps %lld have %lld. To go on with it say "
                             "gradient_accumulation_steps: %lld",
                             path, then, ranks, (long long)c->gradient_accumulation_steps, now, then / ranks);
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: its steps had %lld micro-batches, which %lld ranks cannot share evenly. To go "
                         "on with it take a number of ranks that divides %lld",
                         path, then, ranks, then);
    }
    return BEAM_FAIL(
        BEAM_ECONFIG,
        "%s: was made with other settings (compare its config.yaml). To go on with the new ones say "
        "resume_from_checkpoint: %s; to start over use another output_dir",
        path, path);
}

beam_status beam_run_check_resume(const beam_config *c, int ranks, const beam_checkpoint_state *now,
                                  const char *path, const beam_checkpoint_state *found)
{
    if (found->model_hash != now->model_hash)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: was made from another base model than %s; give the model it belongs to, or "
                         "another output_dir",
                         path, c->model_name_or_path);
    if (found->data_hash != now->data_hash)
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: was made with another dataset, cutoff_len, packing or seed than now; restore them, or "
            "use another output_dir",
            path);
    if (found->config_hash != now->config_hash && strcmp(c->resume_from_checkpoint, "auto") == 0)
        return refuse_settings(c, ranks, path, found);
    return BEAM_OK;
}

/* Another run's checkpoint may hold other arrays, so whose it is comes first. */
static beam_status read_snapshot(const beam_trainer *t, const char *path, const beam_snapshot *s,
                                 beam_checkpoint_state *found)
{
    BEAM_TRY(beam_checkpoint_read_state(path, found));
    BEAM_TRY(beam_run_check_resume(t->config, t->comm->size, &t->state, path, found));
    return beam_checkpoint_read(path, found, s->arrays, s->n);
}

/* From host memory, the same on all ranks. */
static beam_status upload(beam_trainer *t, const beam_snapshot *s)
{
    BEAM_TRY(beam_snapshot_upload(s, BEAM_SNAPSHOT_VALUE, &t->backend));
    beam_model_round(t->model);
    beam_model_zero_grads(t->model); /* a moment's padding is zero */
    for (int i = 0; i < MOMENTS; i++) {
        BEAM_TRY(beam_snapshot_upload(s, moments[i].kind, &t->backend));
        beam_adamw_take(&t->adamw, &t->backend, moments[i].moment, beam_model_grads(t->model));
    }
    return beam_sync(&t->backend);
}

beam_status beam_trainer_restore(beam_trainer *t, const char *checkpoint)
{
    beam_snapshot s;
    beam_checkpoint_state found = {0};
    beam_status status = beam_snapshot_open(&s, beam_model_params(t->model), BEAM_TRAIN, true);
    if (!status && t->comm->rank == 0)
        status = read_snapshot(t, checkpoint, &s, &found);
    status = beam_comm_verdict(t->comm, status);
    if (!status) {
        beam_comm_host_broadcast(t->comm, &found, sizeof found, 0);
        beam_comm_host_broadcast(t->comm, s.host, s.bytes, 0);
        status = beam_comm_verdict(t->comm, t->comm->status ? t->comm->status : upload(t, &s));
    }
    beam_snapshot_close(&s);
    if (status)
        return status;
    found.config_hash = t->state.config_hash;
    t->state = found;
    return BEAM_OK;
}
