#include <math.h>
#include <stdlib.h>

#include "serve/chart.h"
#include "serve/html.h"
#include "serve/report_parts.h"
#include "serve/series.h"

enum { CURVE_POINTS = 500, LAYER_POINTS = 200, MAX_MARKS = 60 };

/* A column of a run, raw and smoothed. */
typedef struct {
    const double *x, *y; /* [n], the history's */
    int64_t n, half;     /* steps on each side of a smoothed point */
    double *smooth_x, *smooth_y;
    int64_t points;
    double range[2]; /* what matters of y: neither the fall at the very start nor single spikes */
} curve;

/* Steps on each side of a smoothed point: an 80th of the run in all. The loss of a short run is noisy, so
 * there it is up to a 12th, but not more than eleven steps. */
static int64_t half_window(int64_t column, int64_t n)
{
    const int64_t usual = n / 160, noisy = n / 24 < 5 ? n / 24 : 5;
    const bool loss = column == BEAM_LOSS || column == BEAM_TASK_LOSS;
    return loss && noisy > usual ? noisy : usual;
}

static beam_status make_curve(const beam_history *h, int64_t column, int64_t limit, curve *out)
{
    const int64_t n = h->steps.rows, points = n < limit ? n : limit, start = n / 20;
    curve c = {.x = beam_column(&h->steps, BEAM_STEP),
               .y = beam_column(&h->steps, column),
               .n = n,
               .half = half_window(column, n),
               .points = points,
               .range = {NAN, NAN}};
    BEAM_TRY(beam_series_range(c.y + start, n - start, &c.range[0], &c.range[1]));
    c.smooth_x = calloc(2 * (size_t)points, sizeof(double));
    if (!c.smooth_x)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a curve of %lld points", (long long)points);
    c.smooth_y = c.smooth_x + points;
    beam_series_smooth(c.x, c.y, n, c.half, points, c.smooth_x, c.smooth_y);
    *out = c;
    return BEAM_OK;
}

static void free_curve(curve *c)
{
    free(c->smooth_x);
}

static double last_step(const beam_history *h)
{
    return fmax(1, beam_column(&h->steps, BEAM_STEP)[h->steps.rows - 1]);
}

static beam_axis step_axis(double last)
{
    return (beam_axis){.label = "optimizer step", .lo = 0, .hi = last, .whole = true};
}

static int loss_column(const beam_history *h)
{
    return isfinite(beam_column(&h->steps, BEAM_TASK_LOSS)[0]) ? BEAM_TASK_LOSS : BEAM_LOSS;
}

/* One of the two measures that runs are compared by. */
typedef struct {
    const char *title, *unit, *format;
    bool loss;
    int eval_column;
} comparison;

static void draw_run(const beam_chart *chart, const beam_report_run *run, const curve *c,
                     const comparison *what, int series, bool alone)
{
    const beam_columns *evals = &run->history.evals;
    if (alone && c->half > 0)
        beam_chart_line(chart, c->x, c->y, c->n, "faint", series);
    beam_chart_line(chart, c->smooth_x, c->smooth_y, c->points, "line", series);
    for (int64_t i = 0; i < evals->rows && evals->rows <= MAX_MARKS; i++)
        beam_chart_mark(chart, beam_column(evals, BEAM_EVAL_STEP)[i],
                        beam_column(evals, what->eval_column)[i], series);
    if (evals->rows > MAX_MARKS)
        beam_chart_line(chart, beam_column(evals, BEAM_EVAL_STEP), beam_column(evals, what->eval_column),
                        evals->rows, "join", series);
}

static void tell_evals(const beam_chart *chart, const beam_report_run *run, const comparison *what)
{
    const beam_columns *evals = &run->history.evals;
    for (int64_t i = 0; i < evals->rows && evals->rows <= MAX_MARKS; i++) {
        const double step = beam_column(evals, BEAM_EVAL_STEP)[i];
        const double value = beam_column(evals, what->eval_column)[i];
        char number[40], text[320];
        snprintf(number, sizeof number, what->format, value);
        snprintf(text, sizeof text, "%.200s\nevaluation at step %.0f\n%s", run->name, step, number);
        beam_chart_tip(chart, step, value, text);
    }
}

/* The curves of all runs, and the axes that hold them. */
static beam_status make_curves(const beam_report *r, const comparison *what, curve *c, beam_axis *y,
                               double *last)
{
    *last = 1;
    for (int i = 0; i < r->runs; i++) {
        const beam_history *h = &r->run[i].history;
        BEAM_TRY(make_curve(h, what->loss ? loss_column(h) : BEAM_AVG_ACTIVE, CURVE_POINTS, &c[i]));
        beam_axis_cover(y, what->loss ? c[i].range : c[i].smooth_y, what->loss ? 2 : c[i].points);
        if (h->evals.rows > 0)
            beam_axis_cover(y, beam_column(&h->evals, what->eval_column), h->evals.rows);
        *last = fmax(*last, last_step(h));
    }
    beam_axis_round(y);
    return BEAM_OK;
}

/* What the lines and marks are. */
static void smoothing_note(const beam_report *r, const comparison *what, const curve *c, char *note,
                           size_t room)
{
    int64_t half = 0;
    bool evals = false;
    for (int i = 0; i < r->runs; i++) {
        half = c[i].half > half ? c[i].half : half;
        evals = evals || r->run[i].history.evals.rows > 0;
    }
    const char *start = what->loss ? "Without penalties" : "Mean over the MoE layers";
    int n = snprintf(note, room, "%s", start);
    if (half > 0)
        n += snprintf(note + n, room - (size_t)n, "; mean of %s%lld steps%s", r->runs > 1 ? "up to " : "",
                      2 * (long long)half + 1, r->runs > 1 ? "" : ", single steps behind it");
    snprintf(note + n, room - (size_t)n, evals ? "; marks: evaluations." : ".");
}

static beam_status compare(const beam_report *r, const comparison *what, FILE *to)
{
    beam_axis y = beam_axis_empty(what->unit);
    double last;
    curve *c = calloc((size_t)r->runs, sizeof *c);
    if (!c)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %d runs", r->runs);
    const beam_status s = make_curves(r, what, c, &y, &last);
    if (!s) {
        const bool alone = r->runs == 1;
        char note[120];
        smoothing_note(r, what, c, note, sizeof note);
        beam_figure_open(to, what->title, note, false);
        beam_figure_body(to);
        const beam_chart chart =
            beam_chart_open(to, what->title, step_axis(last), y, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT);
        for (int i = 0; i < r->runs; i++)
            draw_run(&chart, &r->run[i], &c[i], what, i + 1, alone);
        beam_chart_close(&chart);
        for (int i = 0; i < r->runs; i++)
            tell_evals(&chart, &r->run[i], what);
        beam_figure_close(to);
    }
    for (int i = 0; i < r->runs; i++)
        free_curve(&c[i]);
    free(c);
    return s;
}

beam_status beam_report_curves(const beam_report *r, FILE *to)
{
    static const comparison loss = {"Loss", "nats per token", "%.4f nats", true, BEAM_EVAL_LOSS};
    static const comparison active = {"Avg-K", "experts kept per token and layer", "%.2f experts", false,
                                      BEAM_EVAL_ACTIVE};
    fputs("<div class=\"keys\">\n", to);
    for (int i = 0; i < r->runs; i++)
        beam_series_key(to, i + 1, true, r->run[i].name);
    fputs("</div>\n<div class=\"grid\">\n", to);
    BEAM_TRY(compare(r, &loss, to));
    BEAM_TRY(compare(r, &active, to));
    fputs("</div>\n", to);
    return BEAM_OK;
}

/* One column over steps, as it is. */
static void draw_column(const beam_history *h, int column, const char *title, const char *label, FILE *to)
{
    const double *x = beam_column(&h->steps, BEAM_STEP), *y = beam_column(&h->steps, column);
    beam_axis axis = beam_axis_empty(label);
    beam_axis_cover(&axis, y, h->steps.rows);
    beam_axis_round(&axis);
    beam_figure_open(to, title, NULL, false);
    beam_figure_body(to);
    const beam_chart chart =
        beam_chart_open(to, title, step_axis(last_step(h)), axis, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT);
    beam_chart_line(&chart, x, y, h->steps.rows, "line", 0);
    beam_chart_close(&chart);
    beam_figure_close(to);
}

/* Kept experts of every layer; the colours go from the first layer to the last. */
static beam_status draw_layers(const beam_history *h, FILE *to)
{
    enum { LIGHTEST = 3 }; /* lighter lines would not show */
    char last[32];
    beam_axis y = beam_axis_empty("kept experts per token");
    for (int64_t i = 0; i < h->layers; i++)
        beam_axis_cover(&y, beam_column(&h->steps, BEAM_STEP_COLUMNS + i), h->steps.rows);
    beam_axis_round(&y);
    snprintf(last, sizeof last, "layer %lld", (long long)h->layers - 1);
    beam_figure_open(to, "Experts kept in each MoE layer", NULL, false);
    beam_figure_ramp(to, "layer 0", 'h', LIGHTEST, BEAM_HEAT_LEVELS - 1, last);
    beam_figure_body(to);
    const beam_chart chart = beam_chart_open(to, "Kept experts of each layer over steps",
                                             step_axis(last_step(h)), y, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT);
    for (int64_t i = 0; i < h->layers; i++) {
        curve c;
        char style[16];
        BEAM_TRY(make_curve(h, BEAM_STEP_COLUMNS + i, LAYER_POINTS, &c));
        const int64_t shade = h->layers > 1 ? i * (BEAM_HEAT_LEVELS - 1 - LIGHTEST) / (h->layers - 1) : 0;
        snprintf(style, sizeof style, "line h%d", (int)(LIGHTEST + shade));
        beam_chart_line(&chart, c.smooth_x, c.smooth_y, c.points, style, -1);
        free_curve(&c);
    }
    beam_chart_close(&chart);
    beam_figure_close(to);
    return BEAM_OK;
}

/* Whether masks had a part in it: a penalty, or an Avg-K that moves. */
static bool has_masks(const beam_history *h)
{
    const double *penalty = beam_column(&h->steps, BEAM_PENALTY),
                 *active = beam_column(&h->steps, BEAM_AVG_ACTIVE);
    for (int64_t i = 0; i < h->steps.rows; i++)
        if (penalty[i] > 0 || fabs(active[i] - active[0]) > 1e-6)
            return true;
    return false;
}

static beam_status draw_details(const beam_report_run *run, FILE *to)
{
    const beam_history *h = &run->history;
    fputs("<div class=\"grid\">\n", to);
    if (has_masks(h) && h->layers > 0)
        BEAM_TRY(draw_layers(h, to));
    if (has_masks(h))
        draw_column(h, BEAM_PENALTY, "Penalty on open masks", "beta", to);
    draw_column(h, BEAM_LR, "Learning rate", "learning rate", to);
    fputs("</div>\n", to);
    return BEAM_OK;
}

beam_status beam_report_run_details(const beam_report_run *run, bool open, FILE *to)
{
    const beam_columns *steps = &run->history.steps;
    fprintf(to, "<details class=\"card\"%s><summary>", open ? " open=\"open\"" : "");
    beam_html_text(to, run->name);
    fprintf(to, "<span>%.0f steps</span></summary>\n", beam_column(steps, BEAM_STEP)[steps->rows - 1]);
    BEAM_TRY(draw_details(run, to));
    if (run->config) {
        fputs("<details class=\"more\"><summary>Configuration</summary>\n<pre>", to);
        beam_html_text(to, run->config);
        fputs("</pre>\n</details>\n", to);
    }
    fputs("</details>\n", to);
    return BEAM_OK;
}
