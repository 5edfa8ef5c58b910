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

static beam_status eval_table(const beam_report *r, const beam_report_groups *g, beam_table *t,
                              beam_table_row **rows)
{
    BEAM_TRY(make_rows(r->evals, rows));
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        beam_table_row *row = &(*rows)[i];
        row->name = r->eval[i].name;
        row->series = g ? g->of[i] : 0;
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

static beam_status run_table(const beam_report *r, const beam_report_groups *g, beam_table *t,
                             beam_table_row **rows)
{
    (void)g;
    BEAM_TRY(make_rows(r->runs, rows));
    for (int i = 0; i < r->runs; i++) {
        const beam_report_run *run = &r->run[i];
        const beam_columns *steps = &run->history.steps;
        const int64_t last = steps->rows - 1;
        beam_table_row *row = &(*rows)[i];
        row->name = run->name;
        row->series = i + 1;
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
        .lines = true,
        .row = *rows,
        .rows = r->runs};
    return BEAM_OK;
}

typedef beam_status make_table(const beam_report *r, const beam_report_groups *g, beam_table *t,
                               beam_table_row **rows);

static beam_status print(const beam_report *r, make_table *make, FILE *to)
{
    beam_table t;
    beam_table_row *rows;
    BEAM_TRY(make(r, NULL, &t, &rows));
    beam_table_text(&t, to);
    free(rows);
    return BEAM_OK;
}

beam_status beam_report_print(const beam_report *r, FILE *to)
{
    if (r->evals > 0)
        BEAM_TRY(print(r, eval_table, to));
    if (r->evals > 0 && r->models > 0)
        putc('\n', to);
    if (r->models > 0)
        BEAM_TRY(beam_report_tasks_print(r, to));
    if (r->evals + r->models > 0 && r->runs > 0)
        putc('\n', to);
    if (r->runs > 0)
        BEAM_TRY(print(r, run_table, to));
    return BEAM_OK;
}

static beam_status print_card(const beam_report *r, const beam_report_groups *g, make_table *make, FILE *to)
{
    beam_table t;
    beam_table_row *rows;
    BEAM_TRY(make(r, g, &t, &rows));
    fputs("<div class=\"card\"><div class=\"scroll\">\n", to);
    beam_table_html(&t, to);
    fputs("</div></div>\n", to);
    free(rows);
    return BEAM_OK;
}

static void print_tile(FILE *to, const char *label, const char *number, const char *about)
{
    fputs("<div class=\"tile\"><span>", to);
    beam_html_text(to, label);
    fprintf(to, "</span><b>%s</b><span>", number);
    beam_html_text(to, about);
    fputs("</span></div>\n", to);
}

/* The evaluation that runs fewest experts while it keeps 98 % of the accuracy; -1 if there is none. */
static int find_leanest(const beam_report *r)
{
    int best = -1;
    for (int i = 1; i < r->evals; i++) {
        const double active = r->eval[i].result.avg_active;
        if (beam_report_retention(r, i) >= 0.98 && isfinite(active) &&
            (best < 0 || active < r->eval[best].result.avg_active))
            best = i;
    }
    return best;
}

static void print_tiles(const beam_report *r, FILE *to)
{
    const beam_evaluation *base = &r->eval[0].result;
    const int best = beam_report_mixed(r) ? -1 : find_leanest(r);
    char number[24], cell[24], about[120];
    fputs("<div class=\"tiles\">\n", to);
    beam_table_set(cell, "%.4f nats", base->loss);
    beam_table_set(number, "%.2f", base->avg_active);
    snprintf(about, sizeof about, "accuracy; loss %s; %s of %lld experts", cell, number,
             (long long)base->top_k);
    beam_table_set(number, "%.2f %%", 100 * base->accuracy);
    print_tile(to, r->evals > 1 ? "The base" : r->eval[0].name, number, about);
    if (best >= 0) {
        const beam_evaluation *e = &r->eval[best].result;
        snprintf(cell, sizeof cell, "%.2f of %lld", e->avg_active, (long long)e->top_k);
        print_tile(to, "Fewest experts at 98 %", cell, r->eval[best].name);
        beam_table_set(number, "%.1f %%", 100 * beam_report_retention(r, best));
        beam_table_set(cell, "%+.4f nats", beam_report_gap(r, best));
        snprintf(about, sizeof about, "there; loss %s", cell);
        print_tile(to, "Accuracy kept", number, about);
        beam_table_set(cell, "%.1f %%", 100 * e->moe_flops_saved);
        print_tile(to, "MoE FLOPs saved", cell, "there, of all work in experts and gates");
    }
    fputs("</div>\n", to);
}

/* ", 3 models in it" and the like; nothing of none. */
static void print_count(FILE *to, const char **comma, int n, const char *what, const char *where)
{
    if (n == 0)
        return;
    fprintf(to, "%s%d %s%s%s", *comma, n, what, n == 1 ? "" : "s", where);
    *comma = ", ";
}

static void print_lead(const beam_report *r, FILE *to)
{
    const char *comma = "";
    fputs("<p>", to);
    print_count(to, &comma, r->evals, "evaluation", "");
    print_count(to, &comma, r->models, "model", " in lm-evaluation-harness");
    print_count(to, &comma, r->runs, "training run", "");
    putc('.', to);
    if (r->evals > 0 && r->eval[0].result.data[0]) {
        fputs(" Evaluated on <code>", to);
        beam_html_text(to, r->eval[0].result.data);
        fprintf(to, "</code>, %lld targets.", (long long)r->eval[0].result.targets);
    }
    if (r->evals > 1) {
        fputs(" The base is <strong>", to);
        beam_html_text(to, r->eval[0].name);
        fputs("</strong>.", to);
    }
    if (beam_report_mixed(r))
        fputs(" <strong>The evaluations have different numbers of targets: they are not of the same text, "
              "and the comparison means little.</strong>",
              to);
    fputs("</p>\n", to);
}

static beam_status print_evals(const beam_report *r, FILE *to)
{
    beam_report_groups g;
    BEAM_TRY(beam_report_group(r, &g));
    beam_status s = BEAM_OK;
    print_tiles(r, to);
    if (r->evals > 1) {
        fputs("<h2>Quality for experts run</h2>\n", to);
        s = beam_report_quality(r, &g, to);
    }
    if (!s) {
        fputs("<h2>Evaluations</h2>\n<p>Avg-K: experts that run per token and MoE layer. Retention: token "
              "accuracy / that of the base; +nats: loss above it.</p>\n",
              to);
        s = print_card(r, &g, eval_table, to);
    }
    if (!s)
        s = beam_report_texts(r, to);
    if (!s)
        beam_report_loads(r, to);
    if (!s)
        s = beam_report_batches(r, &g, to);
    beam_report_ungroup(&g);
    return s;
}

static beam_status print_runs(const beam_report *r, FILE *to)
{
    fputs("<h2>Training</h2>\n", to);
    BEAM_TRY(beam_report_curves(r, to));
    BEAM_TRY(print_card(r, NULL, run_table, to));
    for (int i = 0; i < r->runs; i++)
        BEAM_TRY(beam_report_run_details(&r->run[i], r->runs == 1, to));
    return BEAM_OK;
}

static beam_status print_page(const beam_report *r, FILE *to)
{
    beam_html_open(to, "BEAM report");
    print_lead(r, to);
    if (r->evals > 0)
        BEAM_TRY(print_evals(r, to));
    if (r->models > 0)
        BEAM_TRY(beam_report_tasks(r, to));
    if (r->runs > 0)
        BEAM_TRY(print_runs(r, to));
    fprintf(to, "<footer>Made by beam %s.</footer>\n", BEAM_VERSION);
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
