/* beam report: evaluations, scores of tasks and runs, side by side. */
#include "serve/report.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/printer.h"
#include "cli/verbs.h"
#include "core/log.h"
#include "data/file.h"

enum { CONFIG_LIMIT = 1 << 20 }; /* bytes of config.resolved.yaml */

/* The last part of a path, without slashes behind it and ".json"; the whole path if nothing is left. */
static char *name_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t from = end;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (end - from > 5 && strncmp(path + end - 5, ".json", 5) == 0)
        end -= 5;
    return end > from ? strndup(path + from, end - from) : strdup(path);
}

/* [NAME=]PATH; an existing path may itself hold a '='. *name is NULL where none is given. */
static beam_status split(const char *argument, char **name, const char **path)
{
    const char *equals = strchr(argument, '=');
    *path = argument;
    *name = NULL;
    if (!equals || beam_file_exists(argument) || beam_folder_exists(argument))
        return BEAM_OK;
    if (equals == argument || equals[1] == '\0')
        return BEAM_FAIL(BEAM_ECONFIG, "\"%.200s\": expected NAME=PATH", argument);
    *name = strndup(argument, (size_t)(equals - argument));
    *path = equals + 1;
    return *name ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a name");
}

static beam_status read_run(const char *folder, beam_report_run *run)
{
    char path[1100];
    size_t size;
    BEAM_TRY(beam_history_read(folder, &run->history));
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "config.resolved.yaml"));
    return beam_file_exists(path) ? beam_file_read(path, CONFIG_LIMIT, &run->config, &size) : BEAM_OK;
}

static beam_status set_name(const char *given, const char *path, char **out)
{
    *out = given ? strdup(given) : name_of(path);
    return *out ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a name");
}

static void free_model(beam_report_model *m)
{
    free(m->name);
    beam_lm_eval_free(&m->result);
    m->name = NULL;
}

/* The model before the last one that has its name; NULL if there is none. */
static beam_report_model *namesake(const beam_report *r)
{
    for (int i = 0; i < r->models - 1; i++)
        if (strcmp(r->model[i].name, r->model[r->models - 1].name) == 0)
            return &r->model[i];
    return NULL;
}

/* Files of the same name are one model's: of that name, or, where none is given, of the one that they tell.
 */
static beam_status read_scores(const char *path, const char *name, beam_report *r)
{
    beam_report_model *last = &r->model[r->models++];
    BEAM_TRY(beam_lm_eval_read(path, &last->result));
    BEAM_TRY(set_name(name, last->result.model[0] ? last->result.model : path, &last->name));
    beam_report_model *earlier = namesake(r);
    if (!earlier)
        return BEAM_OK;
    if (!name && strcmp(earlier->result.model, last->result.model) != 0)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: its model %s would be \"%s\", as %s is; give names with NAME=FILE", path,
                         last->result.model, last->name, earlier->result.model);
    BEAM_TRY(beam_lm_eval_join(path, &last->result, &earlier->result));
    free_model(last);
    r->models--;
    return BEAM_OK;
}

/* A folder is a run; a file is an evaluation, or scores of lm-evaluation-harness. */
static beam_status read_path(const char *path, const char *name, beam_report *r)
{
    bool scores;
    if (beam_folder_exists(path)) {
        BEAM_TRY(set_name(name, path, &r->run[r->runs].name));
        return read_run(path, &r->run[r->runs++]);
    }
    BEAM_TRY(beam_lm_eval_recognise(path, &scores));
    if (scores)
        return read_scores(path, name, r);
    BEAM_TRY(set_name(name, path, &r->eval[r->evals].name));
    return beam_evaluation_read(path, &r->eval[r->evals++].result);
}

static beam_status read_argument(const char *argument, beam_report *r)
{
    char *name;
    const char *path;
    BEAM_TRY(split(argument, &name, &path));
    const beam_status s = read_path(path, name, r);
    free(name);
    return s;
}

static void free_report(beam_report *r)
{
    for (int i = 0; i < r->models; i++)
        free_model(&r->model[i]);
    for (int i = 0; i < r->evals; i++) {
        free(r->eval[i].name);
        beam_evaluation_free(&r->eval[i].result);
    }
    for (int i = 0; i < r->runs; i++) {
        free(r->run[i].name);
        free(r->run[i].config);
        beam_history_free(&r->run[i].history);
    }
    free(r->eval);
    free(r->run);
    free(r->model);
}

static beam_printer next_object(int i)
{
    if (i > 0)
        putchar(',');
    return beam_print_open(stdout);
}

static void print_eval(const beam_report *r, int i)
{
    const beam_evaluation *e = &r->eval[i].result;
    beam_printer p = next_object(i);
    beam_print_text(&p, "name", r->eval[i].name);
    beam_print_f64(&p, "loss", e->loss);
    beam_print_f64(&p, "nats_above_base", beam_report_gap(r, i));
    beam_print_f64(&p, "accuracy", e->accuracy);
    beam_print_f64(&p, "retention", beam_report_retention(r, i));
    beam_print_f64(&p, "avg_active", e->avg_active);
    beam_print_i64(&p, "top_k", e->top_k);
    beam_print_f64(&p, "moe_flops_saved", e->moe_flops_saved);
    beam_print_close(&p);
}

static void print_run(const beam_report *r, int i)
{
    const beam_columns *steps = &r->run[i].history.steps;
    const int64_t last = steps->rows - 1;
    beam_printer p = next_object(i);
    beam_print_text(&p, "name", r->run[i].name);
    beam_print_i64(&p, "step", (int64_t)beam_column(steps, BEAM_STEP)[last]);
    beam_print_f64(&p, "loss", beam_column(steps, BEAM_LOSS)[last]);
    beam_print_f64(&p, "task_loss", beam_column(steps, BEAM_TASK_LOSS)[last]);
    beam_print_f64(&p, "avg_active", beam_column(steps, BEAM_AVG_ACTIVE)[last]);
    beam_print_f64(&p, "eval_loss", beam_report_last_eval(&r->run[i], BEAM_EVAL_LOSS));
    beam_print_f64(&p, "eval_accuracy", beam_report_last_eval(&r->run[i], BEAM_EVAL_ACCURACY));
    beam_print_close(&p);
}

static void print_score(const beam_report *r, int model, const beam_lm_eval_score *s, bool first)
{
    beam_printer p = next_object(!first);
    beam_print_text(&p, "name", r->model[model].name);
    beam_print_text(&p, "task", s->task);
    beam_print_text(&p, "metric", s->metric);
    beam_print_text(&p, "filter", s->filter);
    beam_print_f64(&p, "value", s->value);
    beam_print_f64(&p, "stderr", s->error);
    beam_print_f64(&p, "retention", beam_report_task_retention(r, s));
    beam_print_close(&p);
}

static void print_scores(const beam_report *r)
{
    for (int m = 0; m < r->models; m++)
        for (int64_t i = 0; i < r->model[m].result.n; i++)
            print_score(r, m, &r->model[m].result.score[i], m == 0 && i == 0);
}

static void print_json(const beam_report *r, const char *page)
{
    beam_printer p = beam_print_open(stdout);
    beam_print_key(&p, "evaluations");
    putchar('[');
    for (int i = 0; i < r->evals; i++)
        print_eval(r, i);
    putchar(']');
    beam_print_key(&p, "runs");
    putchar('[');
    for (int i = 0; i < r->runs; i++)
        print_run(r, i);
    putchar(']');
    beam_print_key(&p, "lm_eval");
    putchar('[');
    print_scores(r);
    putchar(']');
    beam_print_text(&p, "page", page);
    beam_print_end(&p);
}

static beam_status report(const beam_args *arguments, const char *page, bool json, beam_report *r)
{
    r->eval = calloc((size_t)arguments->n, sizeof *r->eval);
    r->run = calloc((size_t)arguments->n, sizeof *r->run);
    r->model = calloc((size_t)arguments->n, sizeof *r->model);
    if (!r->eval || !r->run || !r->model)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %d results", arguments->n);
    for (int i = 0; i < arguments->n; i++)
        BEAM_TRY(read_argument(arguments->at[i], r));
    if (beam_report_mixed(r))
        beam_warn("the evaluations have different numbers of targets: they are not of the same text");
    if (beam_report_tasks_mixed(r))
        beam_warn("the models were not asked the same number of questions, or not with as many examples");
    BEAM_TRY(beam_report_write(r, page));
    if (json) {
        print_json(r, page);
        return BEAM_OK;
    }
    BEAM_TRY(beam_report_print(r, stdout));
    printf("\nwrote %s\n", page);
    return BEAM_OK;
}

static const char about[] =
    "Puts evaluations, scores of tasks and runs side by side: prints tables, and writes one HTML page that\n"
    "needs no network: quality over the experts that run, a text coloured by the experts that its tokens "
    "keep,\n"
    "which experts run, what batches need, scores of lm-evaluation-harness, curves of training. A folder is "
    "a\n"
    "run (output_dir of `beam train`), a file is what `beam eval --json > FILE` wrote, or the harness\n"
    "(results_*.json of `lm_eval --output_path`). The first evaluation is the base that the others are\n"
    "compared with, and so is the harness's first model. NAME= in front gives a name; otherwise the last "
    "part\n"
    "of the path is the name, or of the model's as the harness tells it. Files of the harness with one name\n"
    "are one model's.\n\n"
    "Evaluations whose names differ in their last number only are one series of the charts, as \"top-2\" "
    "and\n"
    "\"top-3\" are; SERIES/NAME=FILE says the series instead.";

static const char examples[] = "  beam report runs/masks\n"
                               "  beam report base=base.json masks=masks.json runs/masks --out report.html\n"
                               "  beam report base=base.json top-2=top2.json masks=masks.json --json\n"
                               "  beam report lm-base/*/results_*.json lm-masked/*/results_*.json";

beam_status beam_verb_report(int argc, char **argv)
{
    const char *page = "report.html";
    bool json = false;
    const beam_option options[] = {
        {"out", BEAM_TEXT, &page, "FILE", "the page (default: report.html)"},
        {"json", BEAM_FLAG, &json, NULL, "print one JSON object instead of the table"},
    };
    const beam_command command = {.synopsis = "report [NAME=]RUN|EVAL.json|LM_EVAL.json ...",
                                  .about = about,
                                  .examples = examples,
                                  .options = options,
                                  .n = sizeof options / sizeof *options,
                                  .min = 1,
                                  .max = INT_MAX};
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_report r = {0};
    const beam_status status = report(&rest, page, json, &r);
    free_report(&r);
    return status;
}
