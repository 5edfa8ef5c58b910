#include "data/lm_eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/json.h"

enum { MAX_SCORES = 4096 };
static const size_t limit = (size_t)1 << 24; /* bytes */
static const double largest = 1e300;

beam_status beam_lm_eval_recognise(const char *path, bool *yes)
{
    json_t *root;
    *yes = false;
    BEAM_TRY(beam_json_read(path, limit, BEAM_EDATA, &root));
    *yes = json_object_get(root, "results") != NULL;
    json_decref(root);
    return BEAM_OK;
}

const beam_lm_eval_score *beam_lm_eval_find(const beam_lm_eval *e, const beam_lm_eval_score *like)
{
    for (int64_t i = 0; i < e->n; i++) {
        const beam_lm_eval_score *s = &e->score[i];
        if (strcmp(s->task, like->task) == 0 && strcmp(s->metric, like->metric) == 0 &&
            strcmp(s->filter, like->filter) == 0)
            return s;
    }
    return NULL;
}

/* Makes room for n more. */
static beam_status reserve(const char *path, beam_lm_eval *e, int64_t n)
{
    if (e->n + n > MAX_SCORES)
        return BEAM_FAIL(BEAM_EDATA, "%s: more than %d scores of one model", path, MAX_SCORES);
    beam_lm_eval_score *more = realloc(e->score, (size_t)(e->n + n) * sizeof *more);
    if (!more)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for %lld scores", path, (long long)(e->n + n));
    e->score = more;
    return BEAM_OK;
}

beam_status beam_lm_eval_join(const char *path, const beam_lm_eval *from, beam_lm_eval *to)
{
    for (int64_t i = 0; i < from->n; i++) {
        const beam_lm_eval_score *s = &from->score[i];
        if (beam_lm_eval_find(to, s))
            return BEAM_FAIL(BEAM_EDATA,
                             "%s: \"%s,%s\" of %s was in a file of the same model before; leave one of them "
                             "out, or give this one another name with NAME=FILE",
                             path, s->metric, s->filter, s->task);
    }
    BEAM_TRY(reserve(path, to, from->n));
    memcpy(to->score + to->n, from->score, (size_t)from->n * sizeof *from->score);
    to->n += from->n;
    return BEAM_OK;
}

/* The object under a key; its json is NULL if there is none. `prefix` is for messages about its keys. `out`
 * may be `of`. */
static beam_status part_of(const beam_json_object *of, const char *key, const char *prefix,
                           beam_json_object *out)
{
    const json_t *part;
    BEAM_TRY(beam_json_child(of, key, &part));
    *out = (beam_json_object){.json = part, .path = of->path, .prefix = prefix, .error = of->error};
    return BEAM_OK;
}

/* What the file says of a task outside its results; `s->task` names it. */
static beam_status read_about(const beam_json_object *file, beam_lm_eval_score *s)
{
    beam_json_object about;
    s->questions = s->n_shot = -1;
    BEAM_TRY(part_of(file, "n-shot", "n-shot.", &about));
    BEAM_TRY(beam_json_i64(&about, s->task, 0, INT32_MAX, &s->n_shot));
    BEAM_TRY(part_of(file, "n-samples", "n-samples.", &about));
    BEAM_TRY(part_of(&about, s->task, about.prefix, &about));
    return beam_json_i64(&about, "effective", 0, INT64_MAX, &s->questions);
}

static beam_status read_direction(const beam_json_object *file, beam_lm_eval_score *s)
{
    beam_json_object about;
    s->higher_is_better = false;
    BEAM_TRY(part_of(file, "higher_is_better", "higher_is_better.", &about));
    BEAM_TRY(part_of(&about, s->task, about.prefix, &about));
    return beam_json_bool(&about, s->metric, &s->higher_is_better);
}

/* "acc_stderr,none" beside "acc,none". */
static beam_status read_error(const beam_json_object *task, beam_lm_eval_score *s)
{
    char key[sizeof s->metric + sizeof s->filter + 16];
    snprintf(key, sizeof key, "%s_stderr,%s", s->metric, s->filter);
    s->error = NAN;
    return json_is_string(json_object_get(task->json, key)) ? BEAM_OK
                                                            : beam_json_f64(task, key, 0, largest, &s->error);
}

/* A task's name, or half of "metric,filter". */
static beam_status copy_name(const beam_json_object *file, const char *name, size_t length, char *out,
                             size_t size)
{
    if (length == 0 || length >= size)
        return BEAM_FAIL(file->error,
                         "%s: \"%.100s\": names of tasks, metrics and filters have 1 to %zu bytes",
                         file->path, name, size - 1);
    memcpy(out, name, length);
    out[length] = '\0';
    return BEAM_OK;
}

/* Whether the metric's name ends in "_stderr". */
static bool is_error(const char *key, size_t length)
{
    static const char end[] = "_stderr";
    const size_t n = sizeof end - 1;
    return length > n && memcmp(key + length - n, end, n) == 0;
}

typedef struct {
    const beam_json_object *file;
    json_t *parts;            /* an object whose keys are the tasks of groups */
    beam_lm_eval_score score; /* what all scores of the task have in common */
    char prefix[144];         /* of the task's keys, for messages */
    beam_lm_eval *to;
} reader;

static bool is_score(const char *key, const json_t *value)
{
    const char *comma = strchr(key, ',');
    return comma && !is_error(key, (size_t)(comma - key)) && !json_is_string(value) && !json_is_null(value);
}

/* A key of a task: "metric,filter" with a number, or something else about it. */
static beam_status read_key(void *context, const beam_json_object *task, const char *key)
{
    reader *r = context;
    beam_lm_eval_score *s = &r->score;
    if (!is_score(key, json_object_get(task->json, key)))
        return BEAM_OK;
    const char *comma = strchr(key, ',');
    BEAM_TRY(copy_name(r->file, key, (size_t)(comma - key), s->metric, sizeof s->metric));
    BEAM_TRY(copy_name(r->file, comma + 1, strlen(comma + 1), s->filter, sizeof s->filter));
    BEAM_TRY(beam_json_f64(task, key, -largest, largest, &s->value));
    BEAM_TRY(read_error(task, s));
    BEAM_TRY(read_direction(r->file, s));
    BEAM_TRY(reserve(r->file->path, r->to, 1));
    r->to->score[r->to->n++] = *s;
    return BEAM_OK;
}

static beam_status read_task(void *context, const beam_json_object *results, const char *name)
{
    reader *r = context;
    beam_json_object task;
    BEAM_TRY(copy_name(r->file, name, strlen(name), r->score.task, sizeof r->score.task));
    snprintf(r->prefix, sizeof r->prefix, "results.%s.", name);
    BEAM_TRY(part_of(results, name, r->prefix, &task));
    r->score.part = json_object_get(r->parts, name) != NULL;
    BEAM_TRY(read_about(r->file, &r->score));
    return beam_json_each(&task, r, read_key);
}

static bool has_scores(const json_t *task)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)task, key, value)
    {
        if (is_score(key, value))
            return true;
    }
    return false;
}

/* Of a group that has scores itself, the tasks. */
static beam_status collect_parts(void *context, const beam_json_object *groups, const char *group)
{
    const reader *r = context;
    size_t i;
    json_t *name;
    const json_t *names = json_object_get(groups->json, group);
    if (!json_is_array(names))
        return BEAM_FAIL(groups->error, "%s: \"group_subtasks\": the tasks of \"%.100s\" are no list",
                         groups->path, group);
    if (!has_scores(json_object_get(json_object_get(r->file->json, "results"), group)))
        return BEAM_OK;
    json_array_foreach(names, i, name)
    {
        if (json_is_string(name) && json_object_set_new(r->parts, json_string_value(name), json_true()) != 0)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for the tasks of a group", groups->path);
    }
    return BEAM_OK;
}

static beam_status read_file(reader *r)
{
    beam_json_object part;
    BEAM_TRY(part_of(r->file, "group_subtasks", "group_subtasks.", &part));
    BEAM_TRY(beam_json_each(&part, r, collect_parts));
    BEAM_TRY(beam_json_require(r->file, "results"));
    BEAM_TRY(part_of(r->file, "results", "results.", &part));
    BEAM_TRY(beam_json_each(&part, r, read_task));
    if (r->to->n == 0)
        return BEAM_FAIL(
            r->file->error,
            "%s: \"results\" holds no score; results_*.json of `lm_eval --output_path` is expected",
            r->file->path);
    return beam_json_text(r->file, "model_name", r->to->model, sizeof r->to->model);
}

beam_status beam_lm_eval_read(const char *path, beam_lm_eval *out)
{
    json_t *root;
    *out = (beam_lm_eval){0};
    BEAM_TRY(beam_json_read(path, limit, BEAM_EDATA, &root));
    const beam_json_object file = {.json = root, .path = path, .prefix = "", .error = BEAM_EDATA};
    reader r = {.file = &file, .parts = json_object(), .to = out};
    const beam_status s = r.parts ? read_file(&r) : BEAM_FAIL(BEAM_ENOMEM, "%s: no memory", path);
    json_decref(r.parts);
    json_decref(root);
    if (s)
        beam_lm_eval_free(out);
    return s;
}

void beam_lm_eval_free(beam_lm_eval *e)
{
    free(e->score);
    *e = (beam_lm_eval){0};
}
