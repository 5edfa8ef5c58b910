/* A trainer's state to and from a checkpoint: every trainable parameter with its moments, by name. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/trainer.h"

enum { KINDS = 3 }; /* value, first moment, second moment */

typedef struct {
    beam_array *arrays;
    beam_tensor *device;
    char (*names)[BEAM_NAME_MAX + 16];
    void *host;
    int n;
} snapshot;

static void snapshot_free(snapshot *s)
{
    free(s->arrays);
    free(s->device);
    free(s->names);
    free(s->host);
    *s = (snapshot){0};
}

static void add(snapshot *s, const char *kind, const char *name, beam_tensor t)
{
    snprintf(s->names[s->n], sizeof s->names[s->n], "%s/%s", kind, name);
    s->device[s->n] = t;
    s->arrays[s->n] = (beam_array){.name = s->names[s->n], .tensor = t};
    s->n++;
}

/* Lists what a checkpoint holds, with host memory for all of it. */
static beam_status snapshot_make(beam_trainer *t, snapshot *s)
{
    const beam_params params = beam_model_params(t->model);
    const size_t most = (size_t)params.n * KINDS;
    *s = (snapshot){.arrays = calloc(most, sizeof *s->arrays),
                    .device = calloc(most, sizeof *s->device),
                    .names = calloc(most, sizeof *s->names)};
    if (!s->arrays || !s->device || !s->names)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a checkpoint's list");
    size_t bytes = 0;
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (!(p->flags & BEAM_TRAIN))
            continue;
        add(s, "value", p->name, p->value);
        add(s, "adam_m", p->name, t->adamw.m[i]);
        add(s, "adam_v", p->name, t->adamw.v[i]);
        bytes += KINDS * beam_bytes(p->value);
    }
    s->host = malloc(bytes + 1);
    if (!s->host)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a checkpoint of %zu bytes", bytes);
    char *at = s->host;
    for (int i = 0; i < s->n; i++) {
        s->arrays[i].tensor.data = at;
        at += beam_bytes(s->arrays[i].tensor);
    }
    return BEAM_OK;
}

static beam_status config_text(const beam_config *c, char **text)
{
    size_t size;
    FILE *stream = open_memstream(text, &size);
    if (!stream)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the configuration's text");
    beam_config_dump(c, NULL, stream);
    fclose(stream);
    return BEAM_OK;
}

beam_status beam_trainer_save(beam_trainer *t)
{
    snapshot s;
    char *text = NULL;
    beam_status status = snapshot_make(t, &s);
    for (int i = 0; !status && i < s.n; i++)
        beam_download(&t->backend, s.arrays[i].tensor.data, s.device[i]);
    if (!status)
        status = beam_sync(&t->backend);
    if (!status)
        status = config_text(t->config, &text);
    if (!status)
        status = beam_checkpoint_write(t->config->output_dir, &t->state, s.arrays, s.n, text);
    free(text);
    snapshot_free(&s);
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

beam_status beam_trainer_restore(beam_trainer *t, const char *checkpoint)
{
    beam_checkpoint_state found;
    BEAM_TRY(beam_checkpoint_read_state(checkpoint, &found));
    BEAM_TRY(check_identity(t, checkpoint, &found));
    snapshot s;
    beam_status status = snapshot_make(t, &s);
    if (!status)
        status = beam_checkpoint_read(checkpoint, &found, s.arrays, s.n);
    for (int i = 0; !status && i < s.n; i++)
        beam_upload(&t->backend, s.device[i], s.arrays[i].tensor.data);
    if (!status)
        status = beam_sync(&t->backend);
    snapshot_free(&s);
    if (status)
        return status;
    found.config_hash = t->state.config_hash;
    t->state = found;
    return BEAM_OK;
}
