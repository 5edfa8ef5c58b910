#include "data/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/json.h"

enum { MAX_LAYERS = 1024, MAX_EXPERTS = 65536, MAX_SAMPLE = 1 << 16 };
static const size_t evaluation_limit = (size_t)1 << 24, metrics_limit = (size_t)1 << 30; /* bytes */
static const double largest = 1e300; /* differences of two stay finite */

/* Copies n numbers >= 0; `key` is for messages. */
static beam_status copy_numbers(const beam_json_object *o, const char *key, const json_t *list, int64_t n,
                                double *out, int64_t stride)
{
    char found[64];
    if (!json_is_array(list) || json_array_size(list) != (size_t)n)
        return BEAM_FAIL(o->error, "%s: \"%s\" is %s; expected a list of %lld numbers", o->path, key,
                         beam_json_show(list, found), (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, (size_t)i);
        out[i * stride] = json_is_null(x) ? NAN : json_number_value(x);
        if (!json_is_null(x) && !(json_is_number(x) && out[i * stride] >= 0))
            return BEAM_FAIL(o->error, "%s: \"%s\" holds %s; expected numbers from 0", o->path, key,
                             beam_json_show(x, found));
    }
    return BEAM_OK;
}

static beam_status read_load(const beam_json_object *o, beam_evaluation *e)
{
    const json_t *load = json_object_get(o->json, "expert_load");
    if (!load || json_is_null(load))
        return BEAM_OK;
    e->layers = (int64_t)json_array_size(load); /* 0 for what is not a list */
    e->experts = (int64_t)json_array_size(json_array_get(load, 0));
    if (e->layers < 1 || e->layers > MAX_LAYERS || e->experts < 1 || e->experts > MAX_EXPERTS)
        return BEAM_FAIL(o->error, "%s: \"expert_load\": expected a list of experts for each layer", o->path);
    e->load = calloc((size_t)(e->layers * e->experts), sizeof(double));
    if (!e->load)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for %lld x %lld numbers", o->path, (long long)e->layers,
                         (long long)e->experts);
    for (int64_t i = 0; i < e->layers; i++)
        BEAM_TRY(copy_numbers(o, "expert_load", json_array_get(load, (size_t)i), e->experts,
                              e->load + i * e->experts, 1));
    return BEAM_OK;
}

static beam_status read_distinct(const beam_json_object *o, beam_evaluation *e)
{
    beam_json_object sizes = *o;
    sizes.prefix = "distinct_experts.";
    BEAM_TRY(beam_json_child(o, "distinct_experts", &sizes.json));
    for (int i = 0; sizes.json && i < BEAM_BATCH_SIZES; i++) {
        char key[8];
        snprintf(key, sizeof key, "%d", 1 << i);
        BEAM_TRY(beam_json_f64(&sizes, key, 0, MAX_EXPERTS, &e->distinct[i]));
    }
    return BEAM_OK;
}

static beam_status read_sample(const beam_json_object *o, beam_sample *s)
{
    beam_json_object in = *o;
    size_t n = 0;
    in.prefix = "sample.";
    BEAM_TRY(beam_json_child(o, "sample", &in.json));
    if (!in.json)
        return BEAM_OK;
    BEAM_TRY(beam_json_text(&in, "tokenizer", s->tokenizer, sizeof s->tokenizer));
    BEAM_TRY(beam_json_length(&in, "ids", &n));
    if (n > MAX_SAMPLE)
        return BEAM_FAIL(o->error, "%s: \"sample\" has %zu tokens; at most %d are accepted", o->path, n,
                         MAX_SAMPLE);
    s->id = calloc(n + 1, sizeof *s->id);
    s->kept = calloc(n + 1, sizeof *s->kept);
    if (!s->id || !s->kept)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for a text of %zu tokens", o->path, n);
    for (size_t i = 0; i < n; i++) {
        int64_t id = 0;
        BEAM_TRY(beam_json_i64_at(&in, "ids", i, 0, INT32_MAX, &id));
        s->id[i] = (int32_t)id;
    }
    BEAM_TRY(copy_numbers(o, "sample.kept", json_object_get(in.json, "kept"), (int64_t)n, s->kept, 1));
    s->n = (int64_t)n;
    return BEAM_OK;
}

static beam_status read_evaluation(const beam_json_object *o, beam_evaluation *e)
{
    static const char *const needed[] = {"loss", "accuracy", "avg_active", "top_k"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!json_object_get(o->json, needed[i]))
            return BEAM_FAIL(o->error,
                             "%s: not an evaluation: the key \"%s\" is missing; write one with "
                             "`beam eval --json > FILE`",
                             o->path, needed[i]);
    BEAM_TRY(beam_json_f64(o, "loss", -largest, largest, &e->loss));
    BEAM_TRY(beam_json_f64(o, "accuracy", 0, 1, &e->accuracy));
    BEAM_TRY(beam_json_f64(o, "avg_active", 0, MAX_EXPERTS, &e->avg_active));
    BEAM_TRY(beam_json_f64(o, "moe_flops_saved", -largest, 1, &e->moe_flops_saved));
    BEAM_TRY(beam_json_require(o, "top_k"));
    BEAM_TRY(beam_json_i64(o, "top_k", 1, MAX_EXPERTS, &e->top_k));
    BEAM_TRY(beam_json_i64(o, "pruned_to", 1, MAX_EXPERTS, &e->pruned_to));
    BEAM_TRY(beam_json_i64(o, "targets", 0, INT64_MAX, &e->targets));
    BEAM_TRY(beam_json_bool(o, "masks", &e->masks));
    BEAM_TRY(beam_json_bool(o, "renormalize", &e->renormalize));
    BEAM_TRY(beam_json_text(o, "data", e->data, sizeof e->data));
    BEAM_TRY(read_distinct(o, e));
    BEAM_TRY(read_sample(o, &e->sample));
    return read_load(o, e);
}

beam_status beam_evaluation_read(const char *path, beam_evaluation *out)
{
    json_t *root;
    *out = (beam_evaluation){.loss = NAN, .accuracy = NAN, .avg_active = NAN, .moe_flops_saved = NAN};
    for (int i = 0; i < BEAM_BATCH_SIZES; i++)
        out->distinct[i] = NAN;
    BEAM_TRY(beam_json_read(path, evaluation_limit, BEAM_EDATA, &root));
    const beam_json_object o = {.json = root, .path = path, .prefix = "", .error = BEAM_EDATA};
    const beam_status s = read_evaluation(&o, out);
    json_decref(root);
    if (s)
        beam_evaluation_free(out);
    return s;
}

void beam_evaluation_free(beam_evaluation *e)
{
    free(e->load);
    free(e->sample.id);
    free(e->sample.kept);
    e->load = NULL;
    e->sample = (beam_sample){0};
}

const double *beam_column(const beam_columns *t, int64_t c)
{
    BEAM_ASSERT(c >= 0 && c < t->columns);
    return t->at + c * t->capacity;
}

static beam_status make_columns(beam_columns *t, int64_t columns, int64_t capacity)
{
    *t = (beam_columns){.capacity = capacity, .columns = columns};
    t->at = calloc((size_t)columns * (size_t)capacity, sizeof(double));
    return t->at ? BEAM_OK
                 : BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld lines of metrics", (long long)capacity);
}

/* The fixed columns of the row after the last; the row counts once the caller says so. */
static beam_status read_row(const beam_json_object *o, const char *const keys[], int n, beam_columns *t)
{
    for (int i = 0; i < n; i++) {
        double *cell = t->at + i * t->capacity + t->rows;
        *cell = NAN;
        BEAM_TRY(beam_json_f64(o, keys[i], -largest, largest, cell));
    }
    return BEAM_OK;
}

static beam_status read_step(const beam_json_object *o, int64_t lines, beam_history *h)
{
    static const char *const keys[BEAM_STEP_COLUMNS] = {"step",    "loss", "task_loss",   "avg_active",
                                                        "penalty", "lr",   "tokens_per_s"};
    const json_t *active = json_object_get(o->json, "active");
    beam_columns *t = &h->steps;
    if (!t->at) {
        h->layers = (int64_t)json_array_size(active);
        if (h->layers > MAX_LAYERS)
            return BEAM_FAIL(o->error, "%s: \"active\" has more than %d layers", o->path, MAX_LAYERS);
        BEAM_TRY(make_columns(t, BEAM_STEP_COLUMNS + h->layers, lines));
    }
    BEAM_TRY(read_row(o, keys, BEAM_STEP_COLUMNS, t));
    if (h->layers > 0)
        BEAM_TRY(copy_numbers(o, "active", active, h->layers,
                              t->at + BEAM_STEP_COLUMNS * t->capacity + t->rows, t->capacity));
    if (t->rows > 0 && t->at[t->rows] <= t->at[t->rows - 1])
        return BEAM_FAIL(o->error, "%s: step %.0f comes after step %.0f; two runs in one file?", o->path,
                         t->at[t->rows], t->at[t->rows - 1]);
    t->rows++;
    return BEAM_OK;
}

static beam_status read_eval(const beam_json_object *o, int64_t lines, beam_history *h)
{
    static const char *const keys[BEAM_EVAL_COLUMNS] = {"step", "eval_loss", "eval_accuracy",
                                                        "eval_avg_active", "eval_moe_flops_saved"};
    if (!h->evals.at)
        BEAM_TRY(make_columns(&h->evals, BEAM_EVAL_COLUMNS, lines));
    BEAM_TRY(read_row(o, keys, BEAM_EVAL_COLUMNS, &h->evals));
    h->evals.rows++;
    return BEAM_OK;
}

static beam_status read_line(const char *place, const char *line, size_t size, int64_t lines, beam_history *h)
{
    json_t *root;
    int64_t step;
    BEAM_TRY(beam_json_parse(place, line, size, BEAM_EDATA, &root));
    const beam_json_object o = {.json = root, .path = place, .prefix = "", .error = BEAM_EDATA};
    beam_status s = beam_json_require(&o, "step");
    if (!s)
        s = beam_json_i64(&o, "step", 0, (int64_t)1 << 53, &step); /* a double holds it exactly */
    if (!s && json_object_get(root, "eval_loss"))
        s = read_eval(&o, lines, h);
    else if (!s && json_object_get(root, "loss"))
        s = read_step(&o, lines, h);
    json_decref(root);
    return s;
}

static beam_status read_lines(const char *path, const char *bytes, size_t size, beam_history *h)
{
    int64_t lines = 0, number = 0;
    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n';
    for (const char *line = bytes; number < lines;) {
        const char *end = memchr(line, '\n', size - (size_t)(line - bytes));
        char place[1200];
        snprintf(place, sizeof place, "%s:%lld", path, (long long)++number);
        if (end > line)
            BEAM_TRY(read_line(place, line, (size_t)(end - line), lines, h));
        line = end + 1;
    }
    if (h->steps.rows == 0)
        return BEAM_FAIL(BEAM_EDATA, "%s: no step in it yet", path);
    return BEAM_OK;
}

beam_status beam_history_read(const char *folder, beam_history *out)
{
    char path[1100], *bytes;
    size_t size;
    *out = (beam_history){0};
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "metrics.jsonl"));
    BEAM_TRY(beam_file_read(path, metrics_limit, &bytes, &size));
    const beam_status s = read_lines(path, bytes, size, out);
    free(bytes);
    if (s)
        beam_history_free(out);
    return s;
}

void beam_history_free(beam_history *h)
{
    free(h->steps.at);
    free(h->evals.at);
    *h = (beam_history){0};
}
