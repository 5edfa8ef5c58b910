#include <math.h>
#include <stdlib.h>

#include "serve/chart.h"
#include "serve/report_parts.h"
#include "serve/series.h"

enum { CURVE_POINTS = 500, LAYER_POINTS = 200, MAX_COMPARED = 6, MAX_EVAL_DOTS = 60, HEIGHT = 280 };

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

static void draw_smooth(const beam_chart *chart, const curve *c, const char *style)
{
    beam_chart_line(chart, c->smooth_x, c->smooth_y, c->points, style);
}

static int loss_column(const beam_history *h)
{
    return isfinite(beam_column(&h->steps, BEAM_TASK_LOSS)[0]) ? BEAM_TASK_LOSS : BEAM_LOSS;
}

static void draw_evals(const beam_chart *chart, const beam_columns *evals)
{
    const double *at = beam_column(evals, BEAM_EVAL_STEP), *loss = beam_column(evals, BEAM_EVAL_LOSS);
    beam_chart_line(chart, at, loss, evals->rows, "line b");
    for (int64_t i = 0; i < evals->rows && evals->rows <= MAX_EVAL_DOTS; i++) {
        char text[80];
        snprintf(text, sizeof text, "step %.0f: %.4f", at[i], loss[i]);
        beam_chart_dot(chart, at[i], loss[i], "b", text);
    }
}

/* Training loss without the penalties, and the evaluations along the way. */
static beam_status draw_loss(const beam_history *h, bool wide, FILE *to)
{
    const bool evals = h->evals.rows > 0;
    curve c;
    char note[80];
    BEAM_TRY(make_curve(h, loss_column(h), CURVE_POINTS, &c));
    beam_axis y = beam_axis_empty("nats per token");
    beam_axis_cover(&y, c.range, 2);
    if (evals)
        beam_axis_cover(&y, beam_column(&h->evals, BEAM_EVAL_LOSS), h->evals.rows);
    beam_axis_round(&y);
    snprintf(note, sizeof note, "without penalties; line: mean of %lld steps", 2 * (long long)c.half + 1);
    beam_figure_open(to, "Loss", c.half > 0 ? note : "without penalties", wide);
    beam_figure_key(to, "a", "training");
    if (evals)
        beam_figure_key(to, "b", "evaluation");
    beam_figure_body(to);
    const beam_chart chart = beam_chart_open(to, "Loss over steps", step_axis(last_step(h)), y,
                                             wide ? BEAM_CHART_WIDE : BEAM_CHART_WIDTH, HEIGHT);
    if (c.half > 0)
        beam_chart_line(&chart, c.x, c.y, c.n, "faint a");
    draw_smooth(&chart, &c, "line a");
    if (evals)
        draw_evals(&chart, &h->evals);
    beam_chart_close(&chart);
    beam_figure_close(to);
    free_curve(&c);
    return BEAM_OK;
}

/* One column over steps; with `smoothed` the raw values stand faintly behind the line. */
static beam_status draw_column(const beam_history *h, int column, const char *title, const char *label,
                               bool smoothed, const char *series, FILE *to)
{
    curve c;
    char style[16];
    BEAM_TRY(make_curve(h, column, CURVE_POINTS, &c));
    beam_axis y = beam_axis_empty(label);
    beam_axis_cover(&y, c.y, c.n);
    beam_axis_round(&y);
    beam_figure_open(to, title, NULL, false);
    beam_figure_body(to);
    const beam_chart chart = beam_chart_open(to, title, step_axis(last_step(h)), y, BEAM_CHART_WIDTH, HEIGHT);
    snprintf(style, sizeof style, "%s %s", smoothed && c.half > 0 ? "faint" : "line", series);
    beam_chart_line(&chart, c.x, c.y, c.n, style);
    snprintf(style, sizeof style, "line %s", series);
    if (smoothed && c.half > 0)
        draw_smooth(&chart, &c, style);
    beam_chart_close(&chart);
    beam_figure_close(to);
    free_curve(&c);
    return BEAM_OK;
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
    beam_figure_ramp(to, "layer 0", LIGHTEST, last);
    beam_figure_body(to);
    const beam_chart chart = beam_chart_open(to, "Kept experts of each layer over steps",
                                             step_axis(last_step(h)), y, BEAM_CHART_WIDTH, HEIGHT);
    for (int64_t i = 0; i < h->layers; i++) {
        curve c;
        char style[16];
        BEAM_TRY(make_curve(h, BEAM_STEP_COLUMNS + i, LAYER_POINTS, &c));
        const int64_t shade = h->layers > 1 ? i * (BEAM_HEAT_LEVELS - 1 - LIGHTEST) / (h->layers - 1) : 0;
        snprintf(style, sizeof style, "line h%d", (int)(LIGHTEST + shade));
        draw_smooth(&chart, &c, style);
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

beam_status beam_report_curves(const beam_report_run *run, FILE *to)
{
    const beam_history *h = &run->history;
    const bool masks = has_masks(h);
    BEAM_TRY(draw_loss(h, masks, to));
    if (masks)
        BEAM_TRY(draw_column(h, BEAM_AVG_ACTIVE, "Avg-K", "kept experts per token and layer", true, "c", to));
    if (masks)
        BEAM_TRY(draw_column(h, BEAM_PENALTY, "Penalty on open masks", "beta", false, "d", to));
    if (masks && h->layers > 0)
        BEAM_TRY(draw_layers(h, to));
    return draw_column(h, BEAM_LR, "Learning rate", "learning rate", false, "e", to);
}

static beam_status compare(const beam_report *r, bool loss, const char *title, const char *label, FILE *to)
{
    static const char *const series[MAX_COMPARED] = {"a", "b", "c", "d", "e", "f"};
    static const char *const style[MAX_COMPARED] = {"line a", "line b", "line c",
                                                    "line d", "line e", "line f"};
    const int n = r->runs < MAX_COMPARED ? r->runs : MAX_COMPARED;
    curve c[MAX_COMPARED] = {{0}};
    beam_status s = BEAM_OK;
    beam_axis y = beam_axis_empty(label);
    double last = 1;
    beam_figure_open(to, title, r->runs > n ? "the first six runs" : NULL, false);
    for (int i = 0; i < n && !s; i++) {
        const beam_history *h = &r->run[i].history;
        s = make_curve(h, loss ? loss_column(h) : BEAM_AVG_ACTIVE, CURVE_POINTS, &c[i]);
        if (!s)
            beam_axis_cover(&y, loss ? c[i].range : c[i].smooth_y, loss ? 2 : c[i].points);
        last = fmax(last, last_step(h));
        beam_figure_key(to, series[i], r->run[i].name);
    }
    beam_axis_round(&y);
    beam_figure_body(to);
    const beam_chart chart = beam_chart_open(to, title, step_axis(last), y, BEAM_CHART_WIDTH, HEIGHT);
    for (int i = 0; i < n; i++) {
        draw_smooth(&chart, &c[i], style[i]);
        free_curve(&c[i]);
    }
    beam_chart_close(&chart);
    beam_figure_close(to);
    return s;
}

beam_status beam_report_compare(const beam_report *r, FILE *to)
{
    fputs("<div class=\"grid\" style=\"margin-top:16px\">\n", to);
    BEAM_TRY(compare(r, true, "Loss of all runs", "nats per token, smoothed", to));
    BEAM_TRY(compare(r, false, "Avg-K of all runs", "kept experts per token and layer", to));
    fputs("</div>\n", to);
    return BEAM_OK;
}
