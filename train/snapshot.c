#include "train/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/load.h"

enum { KINDS = 3 };

static void add(beam_snapshot *s, beam_snapshot_kind kind, const char *name, beam_tensor t)
{
    static const char *const folder[] = {[BEAM_SNAPSHOT_VALUE] = "value",
                                         [BEAM_SNAPSHOT_MOMENT1] = "adam_m",
                                         [BEAM_SNAPSHOT_MOMENT2] = "adam_v"};
    snprintf(s->names[s->n], sizeof s->names[s->n], "%s/%s", folder[kind], name);
    s->kind[s->n] = kind;
    s->device[s->n] = t;
    s->arrays[s->n] = (beam_array){.name = s->names[s->n], .tensor = t};
    s->arrays[s->n].tensor.dtype = beam_wide_of(t.dtype);
    s->n++;
}

static void list(beam_snapshot *s, beam_params params, unsigned flags, bool moments)
{
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (flags && !(p->flags & flags))
            continue;
        add(s, BEAM_SNAPSHOT_VALUE, p->name, p->value);
        if (moments) {
            add(s, BEAM_SNAPSHOT_MOMENT1, p->name, p->grad);
            add(s, BEAM_SNAPSHOT_MOMENT2, p->name, p->grad);
        }
    }
}

static beam_status allocate_host(beam_snapshot *s)
{
    for (int i = 0; i < s->n; i++)
        s->bytes += beam_bytes(s->arrays[i].tensor);
    s->host = malloc(s->bytes + 1);
    if (!s->host)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the %zu bytes of a checkpoint", s->bytes);
    char *at = s->host;
    for (int i = 0; i < s->n; i++) {
        s->arrays[i].tensor.data = at;
        at += beam_bytes(s->arrays[i].tensor);
    }
    return BEAM_OK;
}

beam_status beam_snapshot_open(beam_snapshot *s, beam_params params, unsigned flags, bool moments)
{
    const size_t most = (size_t)params.n * KINDS;
    *s = (beam_snapshot){.arrays = calloc(most, sizeof *s->arrays),
                         .device = calloc(most, sizeof *s->device),
                         .kind = calloc(most, sizeof *s->kind),
                         .names = calloc(most, sizeof *s->names)};
    beam_status status = s->arrays && s->device && s->kind && s->names
                             ? BEAM_OK
                             : BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of a checkpoint");
    if (!status) {
        list(s, params, flags, moments);
        status = allocate_host(s);
    }
    if (status)
        beam_snapshot_close(s);
    return status;
}

void beam_snapshot_close(beam_snapshot *s)
{
    free(s->arrays);
    free(s->device);
    free(s->kind);
    free(s->names);
    free(s->host);
    *s = (beam_snapshot){0};
}

beam_status beam_snapshot_download(const beam_snapshot *s, beam_snapshot_kind kind, beam_backend *be)
{
    for (int i = 0; i < s->n; i++)
        if (s->kind[i] == kind) {
            BEAM_ASSERT(s->device[i].dtype != BEAM_BF16);
            beam_download(be, s->arrays[i].tensor.data, s->device[i]);
        }
    return beam_sync(be);
}

beam_status beam_snapshot_upload(const beam_snapshot *s, beam_snapshot_kind kind, beam_backend *be)
{
    for (int i = 0; i < s->n; i++) {
        const void *from = s->arrays[i].tensor.data;
        if (s->kind[i] != kind)
            continue;
        if (s->device[i].dtype == BEAM_BF16)
            BEAM_TRY(beam_tensor_set_f32(be, s->device[i], from));
        else
            beam_upload(be, s->device[i], from);
    }
    return be->status;
}
