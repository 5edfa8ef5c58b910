#include "train/grads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors.h"
#include "model/hf_map.h"
#include "model/load.h"

static void put_line(beam_batch *b, const beam_id_line *line)
{
    const int64_t at = b->tokens;
    b->first[b->sequences++] = (int32_t)at;
    for (int64_t i = 0; i < line->n; i++) {
        const bool target = i + 1 < line->n && line->loss[i + 1];
        b->id[at + i] = line->id[i];
        b->target[at + i] = target ? line->id[i + 1] : -1;
        b->position[at + i] = (int32_t)i;
        b->counted[at + i] = 1;
        b->targets += target;
    }
    b->tokens = b->counted_total = at + line->n;
    b->first[b->sequences] = (int32_t)b->tokens;
}

static beam_status make_batch(const beam_id_lines *lines, const char *path, int64_t most, beam_batch *b)
{
    BEAM_TRY(beam_batch_alloc(b, most));
    b->tokens = 0;
    for (int64_t i = 0; i < lines->n; i++) {
        BEAM_ASSERT(b->tokens + lines->line[i].n <= most);
        put_line(b, &lines->line[i]);
    }
    if (b->targets == 0)
        return BEAM_FAIL(
            BEAM_EDATA, "%s: no token is a target: every line has a single id, or a \"loss\" of zeros", path);
    return BEAM_OK;
}

static beam_status measure_masks(beam_model *m, beam_grads_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const int64_t layers = beam_moe_layers(c), columns = BEAM_STAT_EXPERTS + c->experts;
    double *stats = malloc((size_t)(layers * columns) * sizeof *stats);
    if (!stats)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for statistics");
    const beam_status status = beam_model_take_stats(m, stats);
    if (!status) {
        out->avg_active = beam_stats_mean(c, stats, BEAM_STAT_KEPT);
        out->mask_loss = beam_stats_mean(c, stats, BEAM_STAT_SOFT);
    }
    free(stats);
    return status;
}

static beam_status pass(beam_model *m, const beam_batch *b, const beam_grads_weights *w,
                        beam_grads_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const double pairs = (double)(beam_moe_layers(c) * b->counted_total * c->top_k);
    beam_forward_result r;
    BEAM_TRY(beam_model_take_stats(m, NULL));
    beam_model_zero_grads(m);
    beam_model_forward(m, b, 1.0 / (double)b->targets);
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = w->penalty / pairs, .balance = w->balance});
    BEAM_TRY(beam_model_result(m, &r));
    *out = (beam_grads_result){.task_loss = r.loss / (double)b->targets,
                               .balance_loss = r.balance,
                               .targets = b->targets,
                               .tokens = b->tokens};
    BEAM_TRY(measure_masks(m, out));
    out->loss = out->task_loss + w->balance * out->balance_loss + w->penalty * out->mask_loss;
    return BEAM_OK;
}

beam_status beam_gradients(beam_model *m, const beam_id_lines *lines, const char *path,
                           const beam_grads_weights *weights, beam_grads_result *out)
{
    beam_batch batch = {0};
    beam_status status = make_batch(lines, path, beam_model_max_tokens(m), &batch);
    if (!status)
        status = pass(m, &batch, weights, out);
    beam_batch_free(&batch);
    return status;
}

enum { SCALARS = 5 };

typedef struct {
    beam_model *model;
    beam_params params;
    beam_hf_map map;
    float scalar[SCALARS];
    beam_weight_source *sources;
    int64_t n;
} writer;

static beam_status fill_gradient(void *context, int64_t item, void *bytes)
{
    writer *w = context;
    const beam_hf_tensor *t = &w->map.at[item];
    return beam_hf_get(beam_model_backend(w->model), t, w->params.at[t->param].grad, 0, t->rows, bytes);
}

static beam_status fill_scalar(void *context, int64_t item, void *bytes)
{
    memcpy(bytes, &((const writer *)context)->scalar[item], sizeof(float));
    return BEAM_OK;
}

static beam_weight_source *add(writer *w, const char *name)
{
    beam_weight_source *s = &w->sources[w->n++];
    *s = (beam_weight_source){.dtype = BEAM_F32, .context = w};
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static void list_gradients(writer *w)
{
    const bool masks = beam_model_rule(w->model).masks;
    for (int64_t i = 0; i < w->map.n; i++) {
        const beam_hf_tensor *t = &w->map.at[i];
        const beam_param *p = &w->params.at[t->param];
        if (!beam_trains(p) || ((p->flags & BEAM_MASK_GATE) && !masks))
            continue;
        beam_weight_source *s = add(w, t->name);
        s->ndim = t->ndim;
        memcpy(s->dim, t->dim, sizeof s->dim);
        s->fill = fill_gradient;
        s->item = i;
    }
}

static void list_scalars(writer *w, const beam_grads_result *r)
{
    static const char *const names[SCALARS] = {"loss", "task_loss", "mask_loss", "balance_loss",
                                               "avg_active"};
    const double values[SCALARS] = {r->loss, r->task_loss, r->mask_loss, r->balance_loss, r->avg_active};
    for (int i = 0; i < SCALARS; i++) {
        w->scalar[i] = (float)values[i];
        beam_weight_source *s = add(w, names[i]);
        s->ndim = 1;
        s->dim[0] = 1;
        s->fill = fill_scalar;
        s->item = i;
    }
}

static beam_status open_writer(writer *w, beam_model *m)
{
    *w = (writer){.model = m, .params = beam_model_params(m)};
    BEAM_TRY(beam_hf_map_build(beam_model_config_of(m), w->params, BEAM_HF_PUBLISHED, &w->map));
    w->sources = calloc((size_t)(w->map.n + SCALARS), sizeof *w->sources);
    return w->sources ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory to write gradients");
}

beam_status beam_gradients_write(beam_model *m, const beam_grads_result *r, const char *path,
                                 int64_t *tensors)
{
    writer w;
    beam_status status = open_writer(&w, m);
    if (!status) {
        list_gradients(&w);
        *tensors = w.n;
        list_scalars(&w, r);
        status = beam_safetensors_write(path, w.sources, w.n);
    }
    beam_hf_map_free(&w.map);
    free(w.sources);
    return status;
}
