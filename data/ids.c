#include "data/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/json.h"
#include "data/lines.h"

enum { LINE_LIMIT = 1 << 24 }; /* bytes */

/* Takes the object of line `number`; `where` is "FILE:LINE" for messages. */
typedef beam_status (*line_taker)(void *context, const char *where, long number, const json_t *object);

static beam_status take_line(const beam_text_lines *l, bool fits, line_taker take, void *context)
{
    char where[1200];
    json_t *root;
    snprintf(where, sizeof where, "%.1100s:%lld", l->path, (long long)l->number);
    if (!fits)
        return BEAM_FAIL(BEAM_EDATA, "%s: the line has more than %d bytes", where, LINE_LIMIT);
    BEAM_TRY(beam_json_parse(where, l->bytes, l->size, BEAM_EDATA, &root));
    const beam_status status = take(context, where, (long)l->number, root);
    json_decref(root);
    return status;
}

static beam_status each_line(const char *path, line_taker take, void *context)
{
    beam_text_lines l = {.path = path};
    BEAM_TRY(beam_source_open(path, false, &l.source));
    beam_status status = BEAM_OK;
    for (bool fits, end = false; !status && !end;) {
        l.size = 0;
        status = beam_text_lines_append(&l, LINE_LIMIT, &fits, &end);
        if (!status && !end && !(fits && beam_text_lines_blank(&l)))
            status = take_line(&l, fits, take, context);
    }
    free(l.bytes);
    beam_source_close(l.source);
    return status;
}

typedef struct {
    beam_id_lines *out;
    int64_t vocab, capacity;
} id_reader;

/* Entry i of the list under `key`. */
static beam_status read_integer(const char *where, const char *key, const json_t *list, size_t i,
                                int64_t limit, int32_t *out)
{
    const json_t *value = json_array_get(list, i);
    const json_int_t x = json_integer_value(value);
    if (!json_is_integer(value) || x < 0 || x >= limit)
        return BEAM_FAIL(BEAM_EDATA, "%s: \"%s\"[%zu] is not an integer from 0 to %lld", where, key, i,
                         (long long)limit - 1);
    *out = (int32_t)x;
    return BEAM_OK;
}

static beam_status fill_line(const char *where, const json_t *object, int64_t vocab, beam_id_line *line)
{
    const json_t *ids = json_object_get(object, "ids"), *loss = json_object_get(object, "loss");
    const size_t n = json_array_size(ids);
    if (!json_is_array(ids) || n < 1)
        return BEAM_FAIL(BEAM_EDATA, "%s: expected {\"ids\": [token ids, at least one]}", where);
    if (loss && json_array_size(loss) != n)
        return BEAM_FAIL(BEAM_EDATA, "%s: \"loss\" must have as many entries as \"ids\" (%zu)", where, n);
    line->n = (int64_t)n;
    line->id = malloc(n * sizeof *line->id);
    line->loss = malloc(n);
    if (!line->id || !line->loss)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for the line", where);
    for (size_t i = 0; i < n; i++) {
        int32_t is_target = 1;
        BEAM_TRY(read_integer(where, "ids", ids, i, vocab, &line->id[i]));
        if (loss)
            BEAM_TRY(read_integer(where, "loss", loss, i, 2, &is_target));
        line->loss[i] = (uint8_t)is_target;
    }
    return BEAM_OK;
}

static beam_status take_ids(void *context, const char *where, long number, const json_t *object)
{
    id_reader *r = context;
    if (r->out->n == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 64;
        beam_id_line *grown = realloc(r->out->line, (size_t)capacity * sizeof *grown);
        if (!grown)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory", where);
        r->out->line = grown;
        r->capacity = capacity;
    }
    beam_id_line *line = &r->out->line[r->out->n++];
    *line = (beam_id_line){.number = number};
    BEAM_TRY(fill_line(where, object, r->vocab, line));
    if (line->n > r->out->longest)
        r->out->longest = line->n;
    return BEAM_OK;
}

beam_status beam_ids_read(const char *path, int64_t vocab, beam_id_lines *out)
{
    *out = (beam_id_lines){0};
    id_reader r = {.out = out, .vocab = vocab};
    beam_status status = each_line(path, take_ids, &r);
    if (!status && out->n == 0)
        status = BEAM_FAIL(BEAM_EDATA, "%s: holds no line", path);
    if (status)
        beam_ids_free(out);
    return status;
}

void beam_ids_free(beam_id_lines *lines)
{
    for (int64_t i = 0; i < lines->n; i++) {
        free(lines->line[i].id);
        free(lines->line[i].loss);
    }
    free(lines->line);
    *lines = (beam_id_lines){0};
}

typedef struct {
    beam_questions *out;
    int64_t capacity;
} question_reader;

static beam_status fill_question(const char *where, const json_t *object, beam_question *q)
{
    const json_t *id = json_object_get(object, "id"), *context = json_object_get(object, "context");
    const json_t *choices = json_object_get(object, "choices"), *label = json_object_get(object, "label");
    const size_t n = json_array_size(choices);
    if (!json_is_string(context) || n < 2 || n > BEAM_MAX_CHOICES)
        return BEAM_FAIL(BEAM_EDATA, "%s: expected {\"context\": text, \"choices\": [2 to %d texts]}", where,
                         BEAM_MAX_CHOICES);
    const json_int_t right = json_integer_value(label);
    const bool labelled = label && !json_is_null(label);
    if (labelled && (!json_is_integer(label) || right < 0 || right >= (json_int_t)n))
        return BEAM_FAIL(BEAM_EDATA, "%s: \"label\" is not one of the %zu choices (an index from 0)", where,
                         n);
    q->label = labelled ? (int)right : -1;
    char number[64];
    q->id = strdup(json_is_string(id) ? json_string_value(id) : id ? beam_json_show(id, number) : "");
    q->context = strdup(json_string_value(context));
    bool complete = q->id && q->context;
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(choices, i));
        if (!text || !*text)
            return BEAM_FAIL(BEAM_EDATA, "%s: \"choices\"[%zu] is not a text", where, i);
        q->choice[q->n] = strdup(text);
        complete = q->choice[q->n++] && complete;
    }
    return complete ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for the question", where);
}

static beam_status take_question(void *context, const char *where, long number, const json_t *object)
{
    question_reader *r = context;
    if (r->out->n == r->capacity) {
        const int64_t capacity = r->capacity ? 2 * r->capacity : 64;
        beam_question *grown = realloc(r->out->at, (size_t)capacity * sizeof *grown);
        if (!grown)
            return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory", where);
        r->out->at = grown;
        r->capacity = capacity;
    }
    beam_question *q = &r->out->at[r->out->n++];
    *q = (beam_question){.number = number};
    return fill_question(where, object, q);
}

beam_status beam_questions_read(const char *path, beam_questions *out)
{
    *out = (beam_questions){0};
    question_reader r = {.out = out};
    beam_status status = each_line(path, take_question, &r);
    if (!status && out->n == 0)
        status = BEAM_FAIL(BEAM_EDATA, "%s: holds no question", path);
    if (status)
        beam_questions_free(out);
    return status;
}

void beam_questions_free(beam_questions *q)
{
    for (int64_t i = 0; i < q->n; i++) {
        free(q->at[i].id);
        free(q->at[i].context);
        for (int j = 0; j < q->at[i].n; j++)
            free(q->at[i].choice[j]);
    }
    free(q->at);
    *q = (beam_questions){0};
}
