#include "serve/export.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bf16.h"
#include "data/file.h"
#include "data/hf_export.h"
#include "data/safetensors.h"
#include "data/sums.h"
#include "model/families/families.h"
#include "model/hf_map.h"
#include "model/load.h"
#include "serve/card.h"
#include "serve/hf_code.h"
#include "serve/verify.h"

/* Everything a tensor's fill callback needs. */
typedef struct {
    const beam_export_options *options;
    beam_model *model;
    beam_params params;
    beam_hf_map map;
    beam_weights *base;  /* NULL if nothing is copied */
    beam_hf_map in_base; /* the same runs as the base's layout names them */
    float *chunk;        /* host memory for rows under way */
    beam_weight_source *sources;
    int64_t n;
    beam_selftest test; /* test.id is NULL if there is none */
    beam_mask_margins *margins;
} exporter;

static bool trained(const exporter *x, const beam_hf_tensor *t)
{
    return x->options->base_trained || (x->params.at[t->param].flags & (BEAM_MASK_GATE | BEAM_TRAINED));
}

/* The model's own numbers become those that will be stored. */
static beam_status round_tensor(exporter *x, const beam_hf_tensor *t)
{
    beam_backend *be = beam_model_backend(x->model);
    const beam_tensor value = x->params.at[t->param].value;
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = beam_hf_chunk(t, r);
        BEAM_TRY(beam_hf_get(be, t, value, r, n, x->chunk));
        for (int64_t i = 0; i < n * t->row; i++)
            x->chunk[i] = beam_bf16_to_f32(beam_f32_to_bf16(x->chunk[i]));
        BEAM_TRY(beam_hf_put(be, t, value, r, n, x->chunk));
    }
    return BEAM_OK;
}

static beam_status round_trained(exporter *x)
{
    for (int64_t i = 0; x->options->dtype != BEAM_F32 && i < x->map.n; i++)
        if (trained(x, &x->map.at[i]))
            BEAM_TRY(round_tensor(x, &x->map.at[i]));
    return BEAM_OK;
}

/* Rounds the model, and runs the self-test before and after. */
static beam_status prepare(exporter *x)
{
    const beam_export_options *o = x->options;
    const beam_mask_config *mask = &beam_model_config_of(x->model)->mask;
    const bool rounds = o->dtype != BEAM_F32;
    beam_selftest before = {0};
    if (!mask->present || o->selftest_tokens == 0)
        return round_trained(x);
    if (rounds)
        BEAM_TRY(beam_selftest_run(x->model, o->selftest, o->selftest_tokens, &before));
    beam_status status = round_trained(x);
    if (!status)
        status = beam_selftest_run(x->model, o->selftest, o->selftest_tokens, &x->test);
    if (!status)
        *x->margins = beam_selftest_margins(&x->test, rounds ? &before : NULL, mask->threshold);
    beam_selftest_free(&before);
    return status;
}

static beam_status fill_trained(exporter *x, const beam_hf_tensor *t, void *bytes)
{
    beam_backend *be = beam_model_backend(x->model);
    const beam_tensor value = x->params.at[t->param].value;
    if (x->options->dtype == BEAM_F32)
        return beam_hf_get(be, t, value, 0, t->rows, bytes);
    uint16_t *half = bytes;
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = beam_hf_chunk(t, r);
        BEAM_TRY(beam_hf_get(be, t, value, r, n, x->chunk));
        for (int64_t i = 0; i < n * t->row; i++)
            *half++ = beam_f32_to_bf16(x->chunk[i]);
    }
    return BEAM_OK;
}

static beam_status fill(void *context, int64_t item, void *bytes)
{
    exporter *x = context;
    const beam_hf_tensor *t = &x->map.at[item];
    if (trained(x, t))
        return fill_trained(x, t, bytes);
    const beam_hf_tensor *from = &x->in_base.at[item];
    const beam_weight *w = beam_weights_find(x->base, from->name);
    return beam_weights_read_raw_at(x->base, w, from->first, from->rows * from->row, bytes);
}

/* One source per tensor of the folder, in the order of parameters: exporting again gives the same bytes. */
static beam_status list_sources(exporter *x)
{
    x->sources = calloc((size_t)x->map.n, sizeof *x->sources);
    if (!x->sources)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the list of tensors");
    for (int64_t i = 0; i < x->map.n; i++) {
        const beam_hf_tensor *t = &x->map.at[i];
        const bool gate = x->params.at[t->param].flags & BEAM_MASK_GATE;
        if (x->options->adapter_only && !gate)
            continue;
        beam_weight_source *s = &x->sources[x->n++];
        *s = (beam_weight_source){
            .dtype = x->options->dtype, .ndim = t->ndim, .fill = fill, .context = x, .item = i};
        memcpy(s->dim, t->dim, sizeof s->dim);
        snprintf(s->name, sizeof s->name, "%s", t->name);
        if (!trained(x, t)) {
            const beam_hf_tensor *from = &x->in_base.at[i];
            const beam_weight *w = beam_weights_find(x->base, from->name);
            if (!w || w->bytes != beam_bytes(beam_view(NULL, w->dtype, from->ndim, from->dim)))
                return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s has changed since the model was loaded",
                                 x->options->base, from->name);
            s->dtype = w->dtype;
        }
    }
    return BEAM_OK;
}

static beam_status open_base(exporter *x)
{
    beam_hf_layout layout;
    BEAM_TRY(beam_weights_open(x->options->base, &x->base));
    BEAM_TRY(beam_hf_layout_of(x->base, x->options->base, &layout));
    return beam_hf_map_build(beam_model_config_of(x->model), x->params, layout, &x->in_base);
}

static beam_status open_exporter(exporter *x)
{
    beam_model *m = x->model;
    const beam_export_options *options = x->options;
    BEAM_TRY(beam_hf_map_build(beam_model_config_of(m), x->params, BEAM_HF_PUBLISHED, &x->map));
    x->chunk = malloc((size_t)beam_hf_longest_chunk(&x->map) * sizeof *x->chunk);
    if (!x->chunk)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to export");
    if (!options->base_trained && !options->adapter_only)
        BEAM_TRY(open_base(x));
    return list_sources(x);
}

static void close_exporter(exporter *x)
{
    beam_weights_close(x->base);
    beam_hf_map_free(&x->map);
    beam_hf_map_free(&x->in_base);
    beam_selftest_free(&x->test);
    free(x->sources);
    free(x->chunk);
}

static beam_status write_config(const exporter *x, const char *folder)
{
    char from[1200], to[1200];
    const beam_model_config *c = beam_model_config_of(x->model);
    const bool is_folder = beam_folder_exists(x->options->base);
    if (is_folder)
        BEAM_TRY(beam_join_path(from, sizeof from, x->options->base, "config.json"));
    else
        snprintf(from, sizeof from, "%s", x->options->base);
    BEAM_TRY(beam_join_path(to, sizeof to, folder, "config.json"));
    beam_hf_export e = {.architecture = beam_family_of(c)->architecture,
                        .model_type = c->model_type,
                        .plain_type = x->options->plain_type,
                        .mask = c->mask,
                        .top_k = c->top_k,
                        .mask_dtype = x->options->dtype,
                        .dtype = x->options->dtype,
                        .masked_layers = beam_moe_layers(c),
                        .avg_active = x->options->avg_active};
    e.mask.base_hash = x->options->adapter_only ? x->options->base_hash : 0;
    if (x->base)
        e.dtype = beam_weights_at(x->base, 0)->dtype;
    BEAM_TRY(beam_hf_config_write(from, to, &e));
    return is_folder ? beam_hf_copy_files(x->options->base, folder) : BEAM_OK;
}

static beam_status write_adapter(const exporter *x, const char *folder)
{
    char path[1200];
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "expert_mask.safetensors"));
    return beam_safetensors_write(path, x->sources, x->n);
}

static beam_status write_folder(exporter *x, const char *folder)
{
    uint64_t bytes = 0;
    for (int64_t i = 0; i < x->n; i++)
        bytes +=
            (uint64_t)beam_bytes(beam_view(NULL, x->sources[i].dtype, x->sources[i].ndim, x->sources[i].dim));
    BEAM_TRY(beam_make_folder(folder));
    BEAM_TRY(beam_need_space(folder, bytes + bytes / 50 + (16 << 20)));
    BEAM_TRY(prepare(x));
    BEAM_TRY(write_config(x, folder));
    BEAM_TRY(beam_card_write(folder, x->model, x->options, x->margins));
    const beam_mask_config *mask = &beam_model_config_of(x->model)->mask;
    if (mask->present)
        BEAM_TRY(beam_hf_code_write(folder));
    if (x->test.id)
        BEAM_TRY(beam_selftest_write(&x->test, mask->threshold, folder));
    if (x->options->adapter_only)
        return write_adapter(x, folder);
    return beam_safetensors_write_folder(folder, x->sources, x->n, x->options->shard_bytes);
}

static beam_status refuse_occupied(const char *out)
{
    DIR *d = opendir(out);
    if (!d)
        return errno == ENOENT ? BEAM_OK
                               : BEAM_FAIL(BEAM_EIO, "%s: cannot look into it: %s", out, strerror(errno));
    int entries = 0;
    while (readdir(d))
        entries++;
    closedir(d);
    return entries <= 2
               ? BEAM_OK
               : BEAM_FAIL(BEAM_EIO, "%s: exists and is not empty; name another folder with --out", out);
}

/* `out` without slashes at its end, and the folder beside it that becomes it. */
static beam_status name_folders(const char *given, char out[1024], char temporary[1200])
{
    size_t n = strlen(given);
    while (n > 1 && given[n - 1] == '/')
        n--;
    if (n >= 1024)
        return BEAM_FAIL(BEAM_EIO, "%.200s...: the path is too long", given);
    memcpy(out, given, n);
    out[n] = '\0';
    snprintf(temporary, 1200, "%s.tmp-%ld", out, (long)getpid());
    return BEAM_OK;
}

static beam_status write_and_rename(exporter *x)
{
    char out[1024], temporary[1200];
    BEAM_TRY(name_folders(x->options->out, out, temporary));
    beam_status status = write_folder(x, temporary);
    if (!status)
        status = beam_export_verify(x->model, x->options, temporary);
    if (!status)
        status = beam_sums_write(temporary);
    if (!status && rmdir(out) != 0 && errno != ENOENT)
        status = BEAM_FAIL(BEAM_EIO, "%s: cannot be replaced: %s", out, strerror(errno));
    if (!status && rename(temporary, out) != 0)
        status = BEAM_FAIL(BEAM_EIO, "%s: cannot be given its name: %s", out, strerror(errno));
    if (status) {
        char message[2048]; /* what went wrong first is what the user needs */
        snprintf(message, sizeof message, "%s", beam_last_error());
        beam_remove_folder(temporary);
        return BEAM_FAIL(status, "%s", message);
    }
    return beam_sync_folder_of(out);
}

/* The masks go with another base than the one that the run started from. */
static bool base_changed(beam_model *m, const beam_export_options *options)
{
    const beam_params params = beam_model_params(m);
    bool changed = options->base_trained;
    for (int i = 0; i < params.n; i++)
        changed = changed || (params.at[i].flags & (BEAM_TRAINED | BEAM_MASK_GATE)) == BEAM_TRAINED;
    return changed;
}

beam_status beam_export(beam_model *m, const beam_export_options *options, beam_mask_margins *margins)
{
    exporter x = {.options = options, .model = m, .params = beam_model_params(m), .margins = margins};
    *margins = (beam_mask_margins){0};
    if (beam_model_config_of(m)->null_experts > 0)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "the run trained null experts (null_experts: %lld), which no Hugging Face model has; "
            "it can be evaluated with beam eval --run, but not exported",
            (long long)beam_model_config_of(m)->null_experts);
    if (options->adapter_only && !beam_model_config_of(m)->mask.present)
        return BEAM_FAIL(BEAM_ECONFIG, "--adapter-only: the run trained no mask gates");
    if (options->adapter_only && base_changed(m, options))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--adapter-only: the run trained the base model too, and its masks do not fit the "
                         "base as it was; export the whole model");
    BEAM_TRY(refuse_occupied(options->out));
    beam_status status = open_exporter(&x);
    if (!status)
        status = write_and_rename(&x);
    close_exporter(&x);
    return status;
}
