#include "train/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

enum { KINDS = 3 }; /* value, first moment, second moment */

static void add(beam_snapshot *s, const char *kind, const char *name, beam_tensor t)
{
    snprintf(s->names[s->n], sizeof s->names[s->n], "%s/%s", kind, name);
    s->device[s->n] = t;
    s->arrays[s->n] = (beam_array){.name = s->names[s->n], .tensor = t};
    s->n++;
}

static void list(beam_snapshot *s, beam_params params, unsigned flags, const beam_tensor *m,
                 const beam_tensor *v)
{
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        if (flags && !(p->flags & flags))
            continue;
        add(s, "value", p->name, p->value);
        if (m && v) {
            add(s, "adam_m", p->name, m[i]);
            add(s, "adam_v", p->name, v[i]);
        }
    }
}

static beam_status allocate_host(beam_snapshot *s)
{
    size_t bytes = 0;
    for (int i = 0; i < s->n; i++)
        bytes += beam_bytes(s->arrays[i].tensor);
    s->host = malloc(bytes + 1);
    if (!s->host)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the %zu bytes of a checkpoint", bytes);
    char *at = s->host;
    for (int i = 0; i < s->n; i++) {
        s->arrays[i].tensor.data = at;
        at += beam_bytes(s->arrays[i].tensor);
    }
    return BEAM_OK;
}

beam_status beam_snapshot_open(beam_snapshot *s, beam_params params, unsigned flags, const beam_tensor *m,
                               const beam_tensor *v)
{
    const size_t most = (size_t)params.n * KINDS;
    *s = (beam_snapshot){.arrays = calloc(most, sizeof *s->arrays),
                         .device = calloc(most, sizeof *s->device),
                         .names = calloc(most, sizeof *s->names)};
    beam_status status = s->arrays && s->device && s->names
                             ? BEAM_OK
                             : BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of a checkpoint");
    if (!status) {
        list(s, params, flags, m, v);
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
    free(s->names);
    free(s->host);
    *s = (beam_snapshot){0};
}

beam_status beam_snapshot_download(const beam_snapshot *s, beam_backend *be)
{
    for (int i = 0; i < s->n; i++)
        beam_download(be, s->arrays[i].tensor.data, s->device[i]);
    return beam_sync(be);
}

beam_status beam_snapshot_upload(const beam_snapshot *s, beam_backend *be)
{
    for (int i = 0; i < s->n; i++)
        beam_upload(be, s->device[i], s->arrays[i].tensor.data);
    return beam_sync(be);
}
