#include "serve/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "serve/html.h"
#include "serve/report_parts.h"
#include "serve/table.h"

double beam_report_gap(const beam_report *r, int i)
{
    return r->eval[i].result.loss - r->eval[0].result.loss;
}

double beam_report_retention(const beam_report *r, int i)
{
    const double base = r->eval[0].result.accuracy;
    return base > 0 ? r->eval[i].result.accuracy / base : NAN;
}

bool beam_report_mixed(const beam_report *r)
{
    for (int i = 1; i < r->evals; i++)
        if (r->eval[i].result.targets != r->eval[0].result.targets)
            return true;
    return false;
}

double beam_report_last_eval(const beam_report_run *run, int column)
{
    const beam_columns *t = &run->history.evals;
    return t->rows > 0 ? beam_column(t, column)[t->rows - 1] : NAN;
}

static beam_status make_rows(int n, beam_table_row **out)
{
    *out = calloc((size_t)n + 1, sizeof **out);
    return *out ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for a table of %d rows", n);
}

static beam_status eval_table(const beam_report *r, beam_table *t, beam_table_row **rows)
{
    BEAM_TRY(make_rows(r->evals, rows));
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        beam_table_row *row = &(*rows)[i];
        row->name = r->eval[i].name;
        beam_table_set(row->cell[0], "%.4f", e->loss);
        beam_table_set(row->cell[1], "%+.4f", i > 0 ? beam_report_gap(r, i) : NAN);
        beam_table_set(row->cell[2], "%.2f%%", 100 * e->accuracy);
        beam_table_set(row->cell[3], "%.2f", e->avg_active);
        const size_t used = strlen(row->cell[3]);
        snprintf(row->cell[3] + used, sizeof row->cell[3] - used, " of %lld", (long long)e->top_k);
        beam_table_set(row->cell[4], "%.1f%%", 100 * e->moe_flops_saved);
        beam_table_set(row->cell[5], "%.1f%%", 100 * beam_report_retention(r, i));
    }
    *t = (beam_table){.title = "model",
                      .header = {"loss", "+nats", "accuracy", "Avg-K", "MoE FLOPs saved", "retention"},
                      .row = *rows,
                      .rows = r->evals};
    return BEAM_OK;
}

static beam_status run_table(const beam_report *r, beam_table *t, beam_table_row **rows)
{
    BEAM_TRY(make_rows(r->runs, rows));
    for (int i = 0; i < r->runs; i++) {
        const beam_report_run *run = &r->run[i];
        const beam_columns *steps = &run->history.steps;
        const int64_t last = steps->rows - 1;
        beam_table_row *row = &(*rows)[i];
        row->name = run->name;
        beam_table_set(row->cell[0], "%.0f", beam_column(steps, BEAM_STEP)[last]);
        beam_table_set(row->cell[1], "%.4f", beam_column(steps, BEAM_TASK_LOSS)[last]);
        beam_table_set(row->cell[2], "%.4f", beam_report_last_eval(run, BEAM_EVAL_LOSS));
        beam_table_set(row->cell[3], "%.2f%%", 100 * beam_report_last_eval(run, BEAM_EVAL_ACCURACY));
        beam_table_set(row->cell[4], "%.2f", beam_column(steps, BEAM_AVG_ACTIVE)[last]);
        beam_table_set(row->cell[5], "%.1f%%", 100 * beam_report_last_eval(run, BEAM_EVAL_SAVED));
    }
    *t = (beam_table){
        .title = "run",
        .header = {"steps", "task loss", "eval loss", "eval accuracy", "Avg-K", "MoE FLOPs saved"},
        .row = *rows,
        .rows = r->runs};
    return BEAM_OK;
}

typedef beam_status make_table(const beam_report *r, beam_table *t, beam_table_row **rows);
typedef void print_table(const beam_table *t, FILE *to);

static beam_status print(const beam_report *r, make_table *make, print_table *to_file, FILE *to)
{
    beam_table t;
    beam_table_row *rows;
    BEAM_TRY(make(r, &t, &rows));
    to_file(&t, to);
    free(rows);
    return BEAM_OK;
}

beam_status beam_report_print(const beam_report *r, FILE *to)
{
    if (r->evals > 0)
        BEAM_TRY(print(r, eval_table, beam_table_text, to));
    if (r->evals > 0 && r->runs > 0)
        putc('\n', to);
    if (r->runs > 0)
        BEAM_TRY(print(r, run_table, beam_table_text, to));
    return BEAM_OK;
}

static void print_data(const beam_report *r, FILE *to)
{
    const beam_evaluation *base = &r->eval[0].result;
    fputs("<p>Compared with the first row. Retention: token accuracy / its token accuracy. Avg-K: experts "
          "that run "
          "per token and MoE layer.",
          to);
    if (base->data[0]) {
        fputs(" Evaluated on <code>", to);
        beam_html_text(to, base->data);
        fprintf(to, "</code>, %lld targets.", (long long)base->targets);
    }
    if (beam_report_mixed(r))
        fputs(" <strong>The rows have different numbers of targets: they are not of the same text, and the "
              "comparison means little.</strong>",
              to);
    fputs("</p>\n", to);
}

static beam_status print_evals(const beam_report *r, FILE *to)
{
    fputs("<h2>Quality and experts run</h2>\n<div class=\"card\">\n", to);
    BEAM_TRY(print(r, eval_table, beam_table_html, to));
    print_data(r, to);
    fputs("</div>\n<div class=\"grid\" style=\"margin-top:16px\">\n", to);
    BEAM_TRY(beam_report_quality(r, to));
    beam_report_loads(r, to);
    fputs("</div>\n", to);
    return BEAM_OK;
}

static beam_status print_run(const beam_report_run *run, FILE *to)
{
    fputs("<h2>Run ", to);
    beam_html_text(to, run->name);
    fputs("</h2>\n<div class=\"grid\">\n", to);
    BEAM_TRY(beam_report_curves(run, to));
    fputs("</div>\n", to);
    if (run->config) {
        fputs("<details class=\"card\"><summary>Configuration</summary>\n<pre>", to);
        beam_html_text(to, run->config);
        fputs("</pre>\n</details>\n", to);
    }
    return BEAM_OK;
}

static beam_status print_page(const beam_report *r, FILE *to)
{
    beam_html_open(to, "BEAM report");
    fprintf(to, "<p>%d evaluation%s, %d training run%s. Made by beam %s.</p>\n", r->evals,
            r->evals == 1 ? "" : "s", r->runs, r->runs == 1 ? "" : "s", BEAM_VERSION);
    if (r->evals > 0)
        BEAM_TRY(print_evals(r, to));
    if (r->runs > 0) {
        fputs("<h2>Training runs</h2>\n<div class=\"card\">\n", to);
        BEAM_TRY(print(r, run_table, beam_table_html, to));
        fputs("</div>\n", to);
    }
    if (r->runs > 1)
        BEAM_TRY(beam_report_compare(r, to));
    for (int i = 0; i < r->runs; i++)
        BEAM_TRY(print_run(&r->run[i], to));
    beam_html_close(to);
    return BEAM_OK;
}

beam_status beam_report_write(const beam_report *r, const char *path)
{
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the report");
    beam_status s = print_page(r, stream);
    const bool lost = ferror(stream);
    if ((fclose(stream) != 0 || lost) && !s)
        s = BEAM_FAIL(BEAM_ENOMEM, "no memory for the report");
    if (!s)
        s = beam_file_write(path, text, size);
    free(text);
    return s;
}
