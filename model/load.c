#include "model/load.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "data/safetensors.h"
#include "model/hf_map.h"

beam_status beam_param_set_f32(beam_backend *be, const beam_param *p, const float *values)
{
    if (be->real == BEAM_F32) {
        beam_upload(be, p->value, values);
        return beam_sync(be);
    }
    const int64_t n = beam_count(p->value);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %s", p->name);
    for (int64_t i = 0; i < n; i++)
        wide[i] = (double)values[i];
    beam_upload(be, p->value, wide);
    const beam_status status = beam_sync(be);
    free(wide);
    return status;
}

beam_status beam_tensor_get_f32(beam_backend *be, beam_tensor t, float *values)
{
    if (t.dtype == BEAM_F32) {
        beam_download(be, values, t);
        return beam_sync(be);
    }
    const int64_t n = beam_count(t);
    double *wide = malloc((size_t)n * sizeof *wide);
    if (!wide)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a copy of %lld elements", (long long)n);
    beam_download(be, wide, t);
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)wide[i];
    free(wide);
    return beam_sync(be);
}

typedef struct {
    const beam_weights *file;
    const char *folder;
    beam_backend *be;
    beam_params params;
    float *param, *tensor; /* host images of the largest parameter and of the largest tensor */
} reader;

static beam_status read_tensor(const reader *r, const beam_hf_tensor *t)
{
    const beam_weight *w = beam_weights_find(r->file, t->name);
    if (!w)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: tensor %s is missing. The folder does not hold what its config.json describes: "
                         "download it again, or correct config.json",
                         r->folder, t->name);
    bool same = w->ndim == t->ndim;
    for (int i = 0; same && i < t->ndim; i++)
        same = w->dim[i] == t->dim[i];
    if (!same)
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: tensor %s has shape [%lld,%lld,...] of %d dims, but config.json asks for [%lld,%lld,...] "
            "of %d dims",
            beam_weights_file(r->file, w), t->name, (long long)(w->ndim > 0 ? w->dim[0] : 0),
            (long long)(w->ndim > 1 ? w->dim[1] : 0), w->ndim, (long long)t->dim[0],
            (long long)(t->ndim > 1 ? t->dim[1] : 0), t->ndim);
    BEAM_TRY(beam_weights_read_f32(r->file, w, r->tensor));
    beam_hf_scatter(t, &r->params.at[t->param], r->param, r->tensor, sizeof *r->param);
    return BEAM_OK;
}

static beam_status read_all(const reader *r, const beam_hf_map *map, bool gates)
{
    for (int64_t i = 0; i < map->n; i++) {
        const beam_hf_tensor *t = &map->at[i];
        const beam_param *p = &r->params.at[t->param];
        if ((p->flags & BEAM_MASK_GATE) && !gates)
            continue;
        BEAM_TRY(read_tensor(r, t));
        const bool last_of_param = i + 1 == map->n || map->at[i + 1].param != t->param;
        if (last_of_param)
            BEAM_TRY(beam_param_set_f32(r->be, p, r->param));
    }
    return BEAM_OK;
}

static bool listed(const beam_hf_map *map, const char *name)
{
    for (int64_t i = 0; i < map->n; i++)
        if (strcmp(map->at[i].name, name) == 0)
            return true;
    return false;
}

/* A gate that is in the file but would not be used makes another model than the one that was saved. */
static beam_status refuse_ignored_gates(const reader *r, const beam_hf_map *map, bool gates)
{
    for (int64_t i = 0; i < beam_weights_count(r->file); i++) {
        const char *name = beam_weights_at(r->file, i)->name;
        if (strstr(name, "mask_gate") && !(gates && listed(map, name)))
            return BEAM_FAIL(
                BEAM_EMODEL,
                "%s: holds the mask gate tensor %s, but the expert_mask block of its config.json %s, so "
                "it would be ignored",
                r->folder, name, gates ? "does not mention it" : "is missing");
    }
    return BEAM_OK;
}

beam_status beam_model_load(beam_model *m, const char *folder, bool gates)
{
    beam_weights *file = NULL;
    BEAM_TRY(beam_weights_open(folder, &file));
    reader r = {.file = file, .folder = folder, .be = beam_model_backend(m), .params = beam_model_params(m)};
    beam_hf_map map = {0};
    int64_t most = 1;
    for (int i = 0; i < r.params.n; i++)
        most = beam_count(r.params.at[i].value) > most ? beam_count(r.params.at[i].value) : most;
    r.param = malloc((size_t)most * sizeof *r.param);
    r.tensor = malloc((size_t)most * sizeof *r.tensor);
    beam_status status =
        r.param && r.tensor ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory to load %s", folder);
    if (!status)
        status = beam_hf_map_build(beam_model_config_of(m), r.params, &map);
    if (!status)
        status = refuse_ignored_gates(&r, &map, gates);
    if (!status)
        status = read_all(&r, &map, gates);
    beam_hf_map_free(&map);
    free(r.tensor);
    free(r.param);
    beam_weights_close(file);
    return status;
}
