#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "serve/html.h"
#include "serve/report_parts.h"
#include "serve/table.h"

enum {
    BESIDE = 4,     /* models beside the base in one table: two columns each */
    NAME_SIZE = 280 /* "task, metric, filter" */
};

/* The lines of the tables: a score of each task, metric and filter, of the first model that has it. */
typedef struct {
    const beam_lm_eval_score **at;
    int n;
} lines;

double beam_report_task_retention(const beam_report *r, const beam_lm_eval_score *s)
{
    const beam_lm_eval_score *base = beam_lm_eval_find(&r->model[0].result, s);
    const bool comparable = base && base->value > 0 && s->higher_is_better && base->higher_is_better;
    return comparable ? s->value / base->value : NAN;
}

bool beam_report_tasks_mixed(const beam_report *r)
{
    for (int m = 1; m < r->models; m++)
        for (int64_t i = 0; i < r->model[m].result.n; i++) {
            const beam_lm_eval_score *s = &r->model[m].result.score[i],
                                     *base = beam_lm_eval_find(&r->model[0].result, s);
            if (base && (base->questions != s->questions || base->n_shot != s->n_shot))
                return true;
        }
    return false;
}

static bool is_new(const beam_report *r, int model, const beam_lm_eval_score *s)
{
    for (int m = 0; m < model; m++)
        if (beam_lm_eval_find(&r->model[m].result, s))
            return false;
    return true;
}

/* Of whole tasks, or of parts of groups. Free `at`. */
static beam_status collect(const beam_report *r, bool parts, lines *out)
{
    int64_t most = 0;
    for (int m = 0; m < r->models; m++)
        most += r->model[m].result.n;
    *out = (lines){.at = calloc((size_t)most + 1, sizeof *out->at)};
    if (!out->at)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld scores", (long long)most);
    for (int m = 0; m < r->models; m++)
        for (int64_t i = 0; i < r->model[m].result.n; i++) {
            const beam_lm_eval_score *s = &r->model[m].result.score[i];
            if (s->part == parts && is_new(r, m, s))
                out->at[out->n++] = s;
        }
    return BEAM_OK;
}

/* "0.5812 ± 0.0049"; wide numbers shorter, so that it fits. */
static void set_score(char cell[24], const beam_lm_eval_score *s)
{
    char value[24], error[24];
    beam_table_set(value, s && fabs(s->value) < 1e4 ? "%.4f" : "%.3g", s ? s->value : NAN);
    beam_table_set(error, s && s->error < 100 ? "%.4f" : "%.3g", s ? s->error : NAN);
    if (s && isfinite(s->error))
        snprintf(cell, 24, "%.10s ± %.9s", value, error);
    else
        snprintf(cell, 24, "%s", value);
}

static void set_cells(const beam_report *r, int first, int last, const beam_lm_eval_score *line,
                      beam_table_row *row)
{
    set_score(row->cell[0], beam_lm_eval_find(&r->model[0].result, line));
    for (int m = first; m < last; m++) {
        const beam_lm_eval_score *s = beam_lm_eval_find(&r->model[m].result, line);
        const int c = 1 + 2 * (m - first);
        set_score(row->cell[c], s);
        beam_table_set(row->cell[c + 1], "%.1f%%", s ? 100 * beam_report_task_retention(r, s) : NAN);
    }
}

static void set_name(char name[NAME_SIZE], const beam_lm_eval_score *s)
{
    const bool filtered = strcmp(s->filter, "none") != 0;
    snprintf(name, NAME_SIZE, "%s, %s%s%s", s->task, s->metric, filtered ? ", " : "",
             filtered ? s->filter : "");
}

typedef void write_table(const beam_table *t, FILE *to);

/* The base beside the models from `first` to before `last`. */
static beam_status print_some(const beam_report *r, const lines *l, int first, int last, write_table *write,
                              FILE *to)
{
    beam_table t = {.title = "task", .header = {r->model[0].name}, .rows = l->n};
    beam_table_row *row = calloc((size_t)l->n, sizeof *row);
    char(*name)[NAME_SIZE] = calloc((size_t)l->n, sizeof *name);
    const bool enough = row && name;
    for (int m = first; m < last; m++) {
        t.header[1 + 2 * (m - first)] = r->model[m].name;
        t.header[2 + 2 * (m - first)] = "retention";
    }
    for (int i = 0; enough && i < l->n; i++) {
        set_name(name[i], l->at[i]);
        row[i].name = name[i];
        row[i].series = -1;
        set_cells(r, first, last, l->at[i], &row[i]);
    }
    t.row = row;
    if (enough)
        write(&t, to);
    free(row);
    free(name);
    return enough ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a table of %d rows", l->n);
}

/* Nothing if there are no such lines. A blank line between two tables separates them as text. */
static beam_status print_all(const beam_report *r, const lines *l, write_table *write, FILE *to)
{
    int first = 1;
    do {
        const int last = first + BESIDE < r->models ? first + BESIDE : r->models;
        if (l->n > 0 && first > 1)
            putc('\n', to);
        if (l->n > 0)
            BEAM_TRY(print_some(r, l, first, last, write, to));
        first = last;
    } while (first < r->models);
    return BEAM_OK;
}

beam_status beam_report_tasks_print(const beam_report *r, FILE *to)
{
    lines whole;
    BEAM_TRY(collect(r, false, &whole));
    const beam_status s = print_all(r, &whole, beam_table_text, to);
    free(whole.at);
    return s;
}

static void write_card(const beam_table *t, FILE *to)
{
    fputs("<div class=\"card\"><div class=\"scroll\">\n", to);
    beam_table_html(t, to);
    fputs("</div></div>\n", to);
}

static void write_inside(const beam_table *t, FILE *to)
{
    fputs("<div class=\"scroll\">\n", to);
    beam_table_html(t, to);
    fputs("</div>\n", to);
}

static void print_lead(const beam_report *r, FILE *to)
{
    fputs("<h2>Tasks</h2>\n<p>Scores of lm-evaluation-harness ± their standard error.", to);
    if (r->models > 1) {
        fputs(" Retention: the score / that of <strong>", to);
        beam_html_text(to, r->model[0].name);
        fputs("</strong>, where higher is better.", to);
    }
    if (beam_report_tasks_mixed(r))
        fputs(
            " <strong>Not all were asked the same number of questions with the same number of examples: the "
            "comparison means little.</strong>",
            to);
    fputs("</p>\n", to);
}

beam_status beam_report_tasks(const beam_report *r, FILE *to)
{
    lines whole, parts = {0};
    BEAM_TRY(collect(r, false, &whole));
    beam_status s = collect(r, true, &parts);
    print_lead(r, to);
    if (!s)
        s = print_all(r, &whole, write_card, to);
    if (!s && parts.n > 0) {
        fprintf(to,
                "<details class=\"card\"><summary>Parts of these tasks<span>%d score%s</span></summary>\n",
                parts.n, parts.n == 1 ? "" : "s");
        s = print_all(r, &parts, write_inside, to);
        fputs("</details>\n", to);
    }
    free(whole.at);
    free(parts.at);
    return s;
}
