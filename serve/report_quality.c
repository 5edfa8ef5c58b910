#include <math.h>
#include <stdlib.h>

#include "serve/chart.h"
#include "serve/html.h"
#include "serve/report_parts.h"
#include "serve/table.h"

static const double mark_at = 98; /* % of the accuracy: what counts as kept */

typedef struct {
    double x, y;
    int eval;
} point;

typedef double measure(const beam_report *r, int i);

/* One chart: a measure over Avg-K. */
typedef struct {
    const char *title, *note;
    beam_axis y;
    measure *value;
    double limit; /* marked by a line; NAN: none */
} panel;

static double retention(const beam_report *r, int i)
{
    return 100 * beam_report_retention(r, i);
}

/* NAN for the base, and for whatever is not worse than it: such have no place on this scale. */
static double log_gap(const beam_report *r, int i)
{
    const double nats = beam_report_gap(r, i);
    return nats > 0 ? log10(nats) : NAN;
}

/* Gaps of very different sizes, all above 0, are told apart by their logarithms only. */
static bool wants_logarithm(const beam_report *r)
{
    double least = INFINITY, most = 0;
    for (int i = 1; i < r->evals; i++) {
        const double nats = beam_report_gap(r, i);
        if (!isfinite(nats))
            continue;
        least = fmin(least, nats);
        most = fmax(most, nats);
    }
    return least > 0 && most > 10 * least;
}

static int by_x(const void *a, const void *b)
{
    const double x = ((const point *)a)->x, y = ((const point *)b)->x;
    return (x > y) - (x < y);
}

/* The points of a group (< 0: of all) in the order of Avg-K; returns their number. */
static int collect(const beam_report *r, const beam_report_groups *g, int group, measure *value, point *p)
{
    int n = 0;
    for (int i = 0; i < r->evals; i++) {
        const double x = r->eval[i].result.avg_active, y = value(r, i);
        if ((group < 0 || g->of[i] == group) && isfinite(x) && isfinite(y))
            p[n++] = (point){x, y, i};
    }
    qsort(p, (size_t)n, sizeof *p, by_x);
    return n;
}

static void draw_group(const beam_chart *c, const point *p, int n, int group)
{
    for (int i = 0; i + 1 < n; i++) {
        const double x[2] = {p[i].x, p[i + 1].x}, y[2] = {p[i].y, p[i + 1].y};
        beam_chart_line(c, x, y, 2, "join", group);
    }
    for (int i = 0; i < n; i++)
        beam_chart_mark(c, p[i].x, p[i].y, group);
}

static void tell(const beam_chart *c, const beam_report *r, const point *p)
{
    const beam_evaluation *e = &r->eval[p->eval].result;
    char kept[24], nats[24], saved[24], text[400];
    beam_table_set(kept, "%.1f %%", retention(r, p->eval));
    beam_table_set(nats, "%+.4f", beam_report_gap(r, p->eval));
    beam_table_set(saved, "%.1f %%", 100 * e->moe_flops_saved);
    snprintf(text, sizeof text,
             "%.200s\n%.2f of %lld experts\n%s of the accuracy\n%s nats\n%s of MoE FLOPs saved",
             r->eval[p->eval].name, e->avg_active, (long long)e->top_k, kept, nats, saved);
    beam_chart_tip(c, p->x, p->y, text);
}

static beam_axis experts_axis(const beam_report *r)
{
    beam_axis x = beam_axis_empty("Avg-K: experts run per token and layer");
    const double zero = 0;
    beam_axis_cover(&x, &zero, 1);
    for (int i = 0; i < r->evals; i++) {
        const double k = (double)r->eval[i].result.top_k;
        beam_axis_cover(&x, &k, 1);
        beam_axis_cover(&x, &r->eval[i].result.avg_active, 1);
    }
    x.hi *= 1.03; /* room for the base, which stands at K */
    return x;
}

/* `p` has room for all evaluations. */
static void draw_panel(const beam_report *r, const beam_report_groups *g, const panel *a, point *p, FILE *to)
{
    beam_axis y = a->y;
    const beam_axis x = experts_axis(r);
    int n = collect(r, g, -1, a->value, p);
    for (int i = 0; i < n; i++)
        beam_axis_cover(&y, &p[i].y, 1);
    beam_axis_round(&y);
    beam_figure_open(to, a->title, a->note, false);
    beam_figure_body(to);
    const beam_chart c = beam_chart_open(to, a->title, x, y, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT + 30);
    if (a->limit > y.lo && a->limit < y.hi) {
        const double from_to[2] = {x.lo, x.hi}, at[2] = {a->limit, a->limit};
        beam_chart_line(&c, from_to, at, 2, "limit", -1);
        fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.0f %%</text>\n", c.left + c.width,
                beam_chart_y(&c, a->limit) + 18, a->limit);
    }
    for (int group = g->n - 1; group >= 0; group--) /* the first ones on top */
        draw_group(&c, p, collect(r, g, group, a->value, p), group);
    beam_chart_close(&c);
    n = collect(r, g, -1, a->value, p);
    for (int i = 0; i < n; i++)
        tell(&c, r, &p[i]);
    beam_figure_close(to);
}

beam_status beam_report_quality(const beam_report *r, const beam_report_groups *g, FILE *to)
{
    point *p = calloc((size_t)r->evals, sizeof *p);
    if (!p)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %d points", r->evals);
    beam_axis kept = beam_axis_empty("% of the base's accuracy"), nats = beam_axis_empty("nats per token");
    const double whole = 100, none = 0;
    const bool logarithm = wants_logarithm(r);
    beam_axis_cover(&kept, &whole, 1);
    beam_axis_cover(&kept, &mark_at, 1);
    if (logarithm)
        nats = (beam_axis){.label = "nats per token, log scale", .lo = INFINITY, .hi = -INFINITY, .base = 10};
    else
        beam_axis_cover(&nats, &none, 1);
    fputs("<div class=\"keys\">\n", to);
    for (int i = 0; i < g->n; i++)
        beam_series_key(to, i, false, g->label[i]);
    fputs("</div>\n<div class=\"grid\">\n", to);
    const panel accuracy = {"Accuracy kept", "Up and to the left is better.", kept, retention, mark_at};
    const panel loss = {"Loss above the base", "Down and to the left is better.", nats,
                        logarithm ? log_gap : beam_report_gap, NAN};
    draw_panel(r, g, &accuracy, p, to);
    draw_panel(r, g, &loss, p, to);
    fputs("</div>\n", to);
    free(p);
    return BEAM_OK;
}
