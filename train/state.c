/* A trainer's state to and from a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "train/snapshot.h"
#include "train/trainer.h"

static beam_status open_snapshot(const beam_trainer *t, beam_snapshot *s)
{
    return beam_snapshot_open(s, beam_model_params(t->model), BEAM_TRAIN, t->adamw.m, t->adamw.v);
}

beam_status beam_trainer_save(beam_trainer *t)
{
    beam_snapshot s;
    char *text = NULL;
    BEAM_TRY(open_snapshot(t, &s));
    beam_status status = beam_snapshot_download(&s, &t->backend);
    if (!status)
        status = beam_config_text(t->config, NULL, &text);
    if (!status)
        status = beam_checkpoint_write(t->config->output_dir, &t->state, s.arrays, s.n, text);
    free(text);
    beam_snapshot_close(&s);
    return status;
}

static beam_status check_identity(const beam_trainer *t, const char *path, const beam_checkpoint_state *found)
{
    if (found->model_hash != t->state.model_hash)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: was made from another base model than %s; give the model it belongs to, or "
                         "another output_dir",
                         path, t->config->model_name_or_path);
    if (found->data_hash != t->state.data_hash)
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: was made with another dataset, cutoff_len, packing or seed than now; restore them, or "
            "use another output_dir",
            path);
    if (found->config_hash != t->state.config_hash && strcmp(t->config->resume_from_checkpoint, "auto") == 0)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "%s: was made with other settings (compare its config.yaml). To go on with the new ones say "
            "resume_from_checkpoint: %s; to start over use another output_dir",
            path, path);
    return BEAM_OK;
}

/* Another run's checkpoint may hold other arrays, so whose it is comes first. */
beam_status beam_trainer_restore(beam_trainer *t, const char *checkpoint)
{
    beam_checkpoint_state found;
    BEAM_TRY(beam_checkpoint_read_state(checkpoint, &found));
    BEAM_TRY(check_identity(t, checkpoint, &found));
    beam_snapshot s;
    BEAM_TRY(open_snapshot(t, &s));
    beam_status status = beam_checkpoint_read(checkpoint, &found, s.arrays, s.n);
    if (!status)
        status = beam_snapshot_upload(&s, &t->backend);
    beam_snapshot_close(&s);
    if (status)
        return status;
    found.config_hash = t->state.config_hash;
    t->state = found;
    return BEAM_OK;
}
