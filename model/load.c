#include "model/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "data/safetensors.h"
#include "model/hf_map.h"

static const char head_name[] = "lm_head.weight", embed_name[] = "model.embed_tokens.weight";

typedef struct {
    const beam_weights *file;
    const char *folder;
    const beam_model_config *config;
    beam_backend *be;
    beam_params params;
    beam_hf_layout layout;
    beam_hf_map map;
    enum { BASE, GATES, BOTH } want;
    float *chunk; /* host memory for rows under way */
} loader;

static bool wanted(const loader *l, const beam_hf_tensor *t)
{
    return l->want != (l->params.at[t->param].flags & BEAM_MASK_GATE ? BASE : GATES);
}

static void show_shape(char out[128], int ndim, const int64_t dim[])
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < ndim && n < 100; i++)
        n += (size_t)snprintf(out + n, 128 - n, i ? ",%lld" : "%lld", (long long)dim[i]);
}

/* The tensor of the folder that t is a run of. */
static beam_status find_tensor(const loader *l, const beam_hf_tensor *t, const beam_weight **out)
{
    char found[128], asked[128];
    const beam_weight *w = beam_weights_find(l->file, t->name);
    if (!w)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: tensor %s is missing. The folder does not hold what its config.json describes: "
                         "download it again, or correct config.json",
                         l->folder, t->name);
    bool same = w->ndim == t->ndim;
    for (int i = 0; same && i < t->ndim; i++)
        same = w->dim[i] == t->dim[i];
    if (!same) {
        show_shape(found, w->ndim, w->dim);
        show_shape(asked, t->ndim, t->dim);
        return BEAM_FAIL(BEAM_EMODEL, "%s: tensor %s has shape [%s], but config.json asks for [%s]",
                         beam_weights_file(l->file, w), t->name, found, asked);
    }
    *out = w;
    return BEAM_OK;
}

/* Whether two tensors of the folder hold the same numbers. `chunk` has room for two chunks. */
static beam_status compare(const loader *l, const beam_weight *a, const beam_weight *b, bool *same)
{
    float *x = l->chunk, *y = l->chunk + BEAM_HF_CHUNK;
    const int64_t n = (int64_t)(a->bytes / beam_dtype_size(a->dtype));
    *same = n == (int64_t)(b->bytes / beam_dtype_size(b->dtype));
    for (int64_t at = 0, part; *same && at < n; at += part) {
        part = n - at < BEAM_HF_CHUNK ? n - at : BEAM_HF_CHUNK;
        BEAM_TRY(beam_weights_read_f32_at(l->file, a, at, part, x));
        BEAM_TRY(beam_weights_read_f32_at(l->file, b, at, part, y));
        *same = memcmp(x, y, (size_t)part * sizeof *x) == 0;
    }
    return BEAM_OK;
}

/* A tied head may be in the folder too, as older tools write it. If it is another matrix than the embedding,
 * transformers does not tie them, whatever config.json says; so the model would be another one. */
static beam_status check_tied_head(const loader *l, const beam_weight *head)
{
    bool same = false;
    const beam_weight *embed = beam_weights_find(l->file, embed_name);
    if (embed)
        BEAM_TRY(compare(l, head, embed, &same));
    if (!same)
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: tensor %s differs from %s, but config.json says tie_word_embeddings: true. Set "
                         "it to false there to use both",
                         beam_weights_file(l->file, head), head_name, embed_name);
    return BEAM_OK;
}

/* What to say of a tensor that no parameter is made from. */
static beam_status judge_unused(const loader *l, const beam_weight *w)
{
    if (strcmp(w->name, head_name) == 0 && l->config->tie_word_embeddings)
        return check_tied_head(l, w);
    const char *rotary = strstr(w->name, ".rotary_emb.inv_freq"); /* follows from config.json */
    if (rotary && strcmp(rotary, ".rotary_emb.inv_freq") == 0)
        return BEAM_OK;
    if (strstr(w->name, "mask_gate"))
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: holds the mask gate tensor %s, but the expert_mask block of its config.json %s, "
            "so it would be ignored",
            l->folder, w->name, l->want == BASE ? "is missing" : "does not mention it");
    return BEAM_FAIL(BEAM_EMODEL,
                     "%s: tensor %s is no part of the %s model that config.json describes, and to ignore it "
                     "would make another model: correct config.json, or remove the tensor",
                     beam_weights_file(l->file, w), w->name, l->config->model_type);
}

/* Every tensor that the model needs is there, and nothing else. */
static beam_status check_tensors(const loader *l, const beam_hf_map *map, bool *used)
{
    for (int64_t i = 0; i < map->n; i++) {
        const beam_weight *w;
        if (!wanted(l, &map->at[i]))
            continue;
        BEAM_TRY(find_tensor(l, &map->at[i], &w));
        used[w - beam_weights_at(l->file, 0)] = true;
    }
    for (int64_t i = 0; i < beam_weights_count(l->file); i++)
        if (!used[i])
            BEAM_TRY(judge_unused(l, beam_weights_at(l->file, i)));
    return BEAM_OK;
}

static beam_status check(const loader *l, const beam_hf_map *map)
{
    bool *used = calloc((size_t)beam_weights_count(l->file) + 1, sizeof *used);
    if (!used)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to load %s", l->folder);
    const beam_status status = check_tensors(l, map, used);
    free(used);
    return status;
}

/* The folder is looked at as a whole, experts that other ranks hold included. */
static beam_status check_folder(const loader *l)
{
    beam_model_config whole = *l->config;
    beam_model_weights w;
    beam_hf_map map = {0};
    whole.expert_ranks = whole.expert_rank = 0;
    BEAM_TRY(beam_model_weights_list(&w, &whole, BEAM_SCOPE_NONE, l->be->real));
    beam_status status = beam_hf_map_build(&whole, w.params, l->layout, &map);
    if (!status)
        status = check(l, &map);
    beam_hf_map_free(&map);
    beam_model_weights_unlist(&w);
    return status;
}

/* A line every ten seconds. */
typedef struct {
    double begin, said; /* seconds */
    int64_t done, all;  /* elements */
} progress;

static void report(progress *p, const char *folder, int64_t done)
{
    const double now = beam_seconds(), every = 10;
    p->done += done;
    if (now - p->said < every)
        return;
    p->said = now;
    const double share = (double)p->done / (double)p->all;
    beam_info("loading %s: %.0f%%, about %.0f s left", folder, 100 * share,
              (now - p->begin) * (1 - share) / share);
}

static beam_status read_run(const loader *l, const beam_hf_tensor *t, progress *p)
{
    const beam_weight *w = beam_weights_find(l->file, t->name);
    for (int64_t r = 0, n; r < t->rows; r += n) {
        n = beam_hf_chunk(t, r);
        BEAM_TRY(beam_weights_read_f32_at(l->file, w, t->first + r * t->row, n * t->row, l->chunk));
        BEAM_TRY(beam_hf_put(l->be, t, l->params.at[t->param].value, r, n, l->chunk));
        report(p, l->folder, n * t->row);
    }
    return BEAM_OK;
}

static beam_status read_all(const loader *l)
{
    progress p = {.begin = beam_seconds()};
    p.said = p.begin;
    for (int i = 0; i < l->params.n; i++)
        p.all += beam_count(l->params.at[i].value);
    for (int64_t i = 0; i < l->map.n; i++)
        if (wanted(l, &l->map.at[i]))
            BEAM_TRY(read_run(l, &l->map.at[i], &p));
    return BEAM_OK;
}

static beam_status load(loader *l)
{
    const int64_t longest = beam_hf_longest_chunk(&l->map), two = 2 * BEAM_HF_CHUNK;
    l->chunk = malloc((size_t)(longest > two ? longest : two) * sizeof *l->chunk);
    if (!l->chunk)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to load %s", l->folder);
    BEAM_TRY(check_folder(l));
    return read_all(l);
}

/* Matrices of which every tensor is bf16. */
static beam_status keep_bf16(loader *l)
{
    for (int i = 0; i < l->params.n; i++)
        if (l->params.at[i].value.ndim > 1)
            l->params.at[i].value.dtype = BEAM_BF16;
    for (int64_t i = 0; i < l->map.n; i++) {
        const beam_weight *w = beam_weights_find(l->file, l->map.at[i].name);
        if (!w || w->dtype != BEAM_BF16)
            l->params.at[l->map.at[i].param].value.dtype = BEAM_F32;
    }
    return BEAM_OK;
}

static beam_status with_folder(loader *l, beam_status (*act)(loader *l))
{
    beam_weights *file = NULL;
    BEAM_TRY(beam_weights_open(l->folder, &file));
    l->file = file;
    beam_status status = beam_hf_layout_of(file, l->folder, &l->layout);
    if (!status)
        status = beam_hf_map_build(l->config, l->params, l->layout, &l->map);
    if (!status)
        status = act(l);
    free(l->chunk);
    beam_hf_map_free(&l->map);
    beam_weights_close(file);
    return status;
}

beam_status beam_params_load(beam_params params, const beam_model_config *c, const char *folder, bool gates,
                             beam_backend *be)
{
    loader l = {.folder = folder, .config = c, .be = be, .params = params, .want = gates ? BOTH : BASE};
    return with_folder(&l, load);
}

beam_status beam_gates_load(beam_params params, const beam_model_config *c, const char *path,
                            beam_backend *be)
{
    loader l = {.folder = path, .config = c, .be = be, .params = params, .want = GATES};
    return with_folder(&l, load);
}

beam_status beam_params_as_stored(beam_params params, const beam_model_config *c, const char *folder)
{
    loader l = {.folder = folder, .config = c, .params = params};
    return with_folder(&l, keep_bf16);
}

beam_status beam_model_load(beam_model *m, const char *folder, bool gates)
{
    BEAM_TRY(beam_params_load(beam_model_params(m), beam_model_config_of(m), folder, gates,
                              beam_model_backend(m)));
    beam_model_round(m);
    return BEAM_OK;
}
