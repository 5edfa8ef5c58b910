#include "serve/verify.h"

#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"
#include "data/file.h"
#include "data/safetensors.h"
#include "model/families/families.h"
#include "model/hf_map.h"
#include "model/load.h"

typedef struct {
    beam_model *model;
    const char *folder;
    beam_params params;
    beam_hf_map map;
    beam_weights *file;
    float *wanted, *found; /* host memory for rows of the model and of the file */
} verifier;

static beam_status check_config(const verifier *v)
{
    char path[1200];
    beam_model_config c;
    const beam_mask_config *m = &beam_model_config_of(v->model)->mask, *f = &c.mask;
    BEAM_TRY(beam_join_path(path, sizeof path, v->folder, "config.json"));
    BEAM_TRY(beam_model_config_read(path, &c));
    if (m->present != f->present ||
        (m->present && (!(m->threshold == f->threshold) || m->bias != f->bias ||
                        m->router_features != f->router_features || m->give_back != f->give_back)))
        return BEAM_FAIL(BEAM_EIO, "%s: reads back with other masks than were written", path);
    return BEAM_OK;
}

/* The base's half-precision tensors were widened when they were loaded, so rounding gives them back. */
static void round_as_stored(beam_dtype dtype, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (dtype == BEAM_BF16)
            x[i] = beam_bf16_to_f32(beam_f32_to_bf16(x[i]));
        else if (dtype == BEAM_F16)
            x[i] = beam_f16_to_f32(beam_f32_to_f16(x[i]));
}

static beam_status check_tensor(const verifier *v, const beam_hf_tensor *t)
{
    const beam_tensor value = v->params.at[t->param].value;
    const beam_weight *w = beam_weights_find(v->file, t->name);
    if (!w || w->bytes != (uint64_t)(t->rows * t->row) * beam_dtype_size(w->dtype))
        return BEAM_FAIL(BEAM_EIO, "%s: tensor %s was written but cannot be found again", v->folder, t->name);
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = beam_hf_chunk(t, r);
        BEAM_TRY(beam_hf_get(beam_model_backend(v->model), t, value, r, n, v->wanted));
        round_as_stored(w->dtype, v->wanted, n * t->row);
        BEAM_TRY(beam_weights_read_f32_at(v->file, w, r * t->row, n * t->row, v->found));
        if (memcmp(v->found, v->wanted, (size_t)(n * t->row) * sizeof *v->found) != 0)
            return BEAM_FAIL(BEAM_EIO, "%s: tensor %s reads back with other numbers than were written",
                             beam_weights_file(v->file, w), t->name);
    }
    return BEAM_OK;
}

static beam_status check_tensors(const verifier *v, bool gates_only)
{
    int64_t checked = 0;
    for (int64_t i = 0; i < v->map.n; i++) {
        const beam_hf_tensor *t = &v->map.at[i];
        if (gates_only && !(v->params.at[t->param].flags & BEAM_MASK_GATE))
            continue;
        BEAM_TRY(check_tensor(v, t));
        checked++;
    }
    if (checked != beam_weights_count(v->file))
        return BEAM_FAIL(BEAM_EIO, "%s: holds %lld tensors, but %lld were written", v->folder,
                         (long long)beam_weights_count(v->file), (long long)checked);
    return BEAM_OK;
}

static beam_status open_verifier(verifier *v, bool adapter)
{
    char path[1200];
    BEAM_TRY(beam_hf_map_build(beam_model_config_of(v->model), v->params, BEAM_HF_PUBLISHED, &v->map));
    const size_t most = (size_t)beam_hf_longest_chunk(&v->map);
    v->wanted = malloc(most * sizeof *v->wanted);
    v->found = malloc(most * sizeof *v->found);
    if (!v->wanted || !v->found)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to verify %s", v->folder);
    BEAM_TRY(beam_join_path(path, sizeof path, v->folder, "expert_mask.safetensors"));
    return beam_weights_open(adapter ? path : v->folder, &v->file);
}

beam_status beam_export_verify(beam_model *m, const beam_export_options *options, const char *folder)
{
    verifier v = {.model = m, .folder = folder, .params = beam_model_params(m)};
    beam_status status = open_verifier(&v, options->adapter_only);
    if (!status)
        status = check_config(&v);
    if (!status)
        status = check_tensors(&v, options->adapter_only);
    beam_weights_close(v.file);
    beam_hf_map_free(&v.map);
    free(v.wanted);
    free(v.found);
    return status;
}
