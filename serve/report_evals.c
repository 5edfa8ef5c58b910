#include <math.h>
#include <stdlib.h>

#include "serve/chart.h"
#include "serve/html.h"
#include "serve/report_parts.h"

enum { LABEL = 26 };                         /* characters of a point's label */
static const double letter = 6.6, line = 14; /* pixels of the labels' font: width of a character, height */

typedef struct {
    double left, top, right, bottom;
} box;

static bool overlap(const box *a, const box *b)
{
    return a->left < b->right && b->left < a->right && a->top < b->bottom && b->top < a->bottom;
}

/* What an evaluation is an example of; the base comes first. */
static const struct {
    const char *series, *label, *join;
} kinds[] = {{"c", "all candidates", "join c"},
             {"a", "masks", "join a"},
             {"b", "smaller top-k", "join b"},
             {"d", "smaller top-k, renormalised", "join d"}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int kind_of(const beam_evaluation *e)
{
    if (e->masks)
        return 1;
    return e->pruned_to == 0 ? 0 : e->renormalize ? 3 : 2;
}

typedef struct {
    double avg_active, kept; /* % of the base's accuracy */
    int kind;
    const char *name;
} point;

static int by_avg_active(const void *a, const void *b)
{
    const double x = ((const point *)a)->avg_active, y = ((const point *)b)->avg_active;
    return (x > y) - (x < y);
}

/* The evaluations that can be drawn, in the order of Avg-K; returns their number. */
static int collect(const beam_report *r, point *p)
{
    int n = 0;
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        const double kept = 100 * beam_report_retention(r, i);
        if (isfinite(e->avg_active) && isfinite(kept))
            p[n++] = (point){e->avg_active, kept, kind_of(e), r->eval[i].name};
    }
    qsort(p, (size_t)n, sizeof *p, by_avg_active);
    return n;
}

static beam_chart open_quality(const beam_report *r, const point *p, int n, FILE *to)
{
    beam_axis x = beam_axis_empty("Avg-K: experts run per token and layer");
    beam_axis y = beam_axis_empty("accuracy retained, %");
    const double zero = 0, whole = 100;
    beam_axis_cover(&x, &zero, 1);
    beam_axis_cover(&y, &whole, 1);
    for (int i = 0; i < r->evals; i++) {
        const double k = (double)r->eval[i].result.top_k;
        beam_axis_cover(&x, &k, 1);
    }
    for (int i = 0; i < n; i++) {
        beam_axis_cover(&x, &p[i].avg_active, 1);
        beam_axis_cover(&y, &p[i].kept, 1);
    }
    beam_axis_round(&y);
    x.hi *= 1.06; /* room for the base, which stands at K */
    return beam_chart_open(to, "Share of the base's token accuracy that is retained, over Avg-K", x, y,
                           BEAM_CHART_WIDE, 400);
}

/* A line from point to point of one kind. */
static void join_points(const beam_chart *c, const point *p, int n, int kind)
{
    const point *last = NULL;
    for (int i = 0; i < n; i++) {
        if (p[i].kind != kind)
            continue;
        if (last) {
            const double x[2] = {last->avg_active, p[i].avg_active}, y[2] = {last->kept, p[i].kept};
            beam_chart_line(c, x, y, 2, kinds[kind].join);
        }
        last = &p[i];
    }
}

/* The first of eight places around the point that hides nothing; the last if there is none. */
static box place_label(const beam_chart *c, double x, double y, double width, const box *taken, int n)
{
    const double d = 9,
                 shift[8][2] = {{d, -line / 2},      {-width - d, -line / 2},    {-width / 2, -line - d},
                                {-width / 2, d},     {d - 3, -line - 4},         {d - 3, 4},
                                {-width - d + 3, 4}, {-width - d + 3, -line - 4}};
    box b = {0};
    for (int i = 0; i < 8; i++) {
        const double left = x + shift[i][0], top = y + shift[i][1];
        b = (box){left, top, left + width, top + line};
        bool free_place = b.left >= c->left && b.right <= c->left + c->width && b.top >= c->top - line &&
                          b.bottom <= c->top + c->height;
        for (int j = 0; j < n && free_place; j++)
            free_place = !overlap(&b, &taken[j]);
        if (free_place)
            break;
    }
    return b;
}

static void draw_label(const beam_chart *c, const point *p, box *taken, int *n)
{
    const double x = beam_chart_x(c, p->avg_active), y = beam_chart_y(c, p->kept);
    const int characters = beam_characters(p->name);
    const box b = place_label(c, x, y, letter * (characters < LABEL ? characters : LABEL), taken, *n);
    taken[(*n)++] = b;
    /* Aligned towards the point, so that a wrong guess of the width shows on the far side. */
    const bool on_right = b.left > x, on_left = b.right < x;
    fprintf(c->to, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
            on_right  ? b.left
            : on_left ? b.right
                      : x,
            b.bottom - 3,
            on_right  ? "start"
            : on_left ? "end"
                      : "middle");
    beam_html_label(c->to, p->name, LABEL);
    fputs("</text>\n", c->to);
}

/* `taken` has room for two boxes per point: the dots first, then the labels. */
static void draw_points(const beam_chart *c, const point *p, int n, box *taken)
{
    int boxes = 0;
    for (int kind = 0; kind < KINDS; kind++)
        join_points(c, p, n, kind);
    for (int i = 0; i < n; i++) {
        const double x = beam_chart_x(c, p[i].avg_active), y = beam_chart_y(c, p[i].kept);
        beam_chart_dot(c, p[i].avg_active, p[i].kept, kinds[p[i].kind].series, p[i].name);
        taken[boxes++] = (box){x - 6, y - 6, x + 6, y + 6};
    }
    for (int i = 0; i < n; i++)
        draw_label(c, &p[i], taken, &boxes);
}

static bool has_kind(const point *p, int n, int kind)
{
    for (int i = 0; i < n; i++)
        if (p[i].kind == kind)
            return true;
    return false;
}

beam_status beam_report_quality(const beam_report *r, FILE *to)
{
    beam_status s = BEAM_OK;
    point *p = calloc((size_t)r->evals, sizeof *p);
    box *taken = calloc(2 * (size_t)r->evals, sizeof *taken);
    if (!p || !taken) {
        s = BEAM_FAIL(BEAM_ENOMEM, "no memory for %d points", r->evals);
        goto done;
    }
    const int n = collect(r, p);
    beam_figure_open(to, "Quality for experts run", "up and to the left is better", true);
    for (int kind = 0; kind < KINDS; kind++)
        if (has_kind(p, n, kind))
            beam_figure_key(to, kinds[kind].series, kinds[kind].label);
    beam_figure_body(to);
    const beam_chart c = open_quality(r, p, n, to);
    draw_points(&c, p, n, taken);
    beam_chart_close(&c);
    beam_figure_close(to);
done:
    free(p);
    free(taken);
    return s;
}

static void draw_load(const beam_report_eval *eval, double most, FILE *to)
{
    const beam_evaluation *e = &eval->result;
    char until[48];
    const beam_axis x = {.label = "expert", .lo = -0.5, .hi = (double)e->experts - 0.5, .whole = true};
    const beam_axis y = {.label = "MoE layer", .lo = (double)e->layers - 0.5, .hi = -0.5, .whole = true};
    snprintf(until, sizeof until, "%.2g kept per token (square-root scale)", most);
    beam_figure_open(to, "Load of each expert", eval->name, e->experts > 64);
    beam_figure_ramp(to, "never", 0, until);
    beam_figure_body(to);
    const double height = fmin(66 + 24 * (double)e->layers, 66 + 10 * (double)e->layers + 140);
    const beam_chart c = beam_chart_open(to, "How often each expert of each layer runs", x, y,
                                         e->experts > 64 ? BEAM_CHART_WIDE : BEAM_CHART_WIDTH, height);
    beam_chart_heat(&c, e->load, e->layers, e->experts, most);
    beam_chart_close(&c);
    beam_figure_close(to);
}

void beam_report_loads(const beam_report *r, FILE *to)
{
    double most = 0; /* one scale for all, so that they can be compared */
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        for (int64_t k = 0; e->masks && e->load && k < e->layers * e->experts; k++)
            most = fmax(most, e->load[k]);
    }
    for (int i = 0; i < r->evals; i++)
        if (r->eval[i].result.masks && r->eval[i].result.load)
            draw_load(&r->eval[i], most, to);
}
