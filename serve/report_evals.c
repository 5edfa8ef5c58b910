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

static const char *series_of(const beam_evaluation *e)
{
    return e->masks ? "a" : e->pruned_to > 0 ? "b" : "c";
}

static beam_chart open_quality(const beam_report *r, FILE *to)
{
    beam_axis x = beam_axis_empty("Avg-K: experts run per token and layer");
    beam_axis y = beam_axis_empty("accuracy retained, %");
    const double zero = 0, whole = 100;
    beam_axis_cover(&x, &zero, 1);
    beam_axis_cover(&y, &whole, 1);
    for (int i = 0; i < r->evals; i++) {
        const double k = (double)r->eval[i].result.top_k, kept = 100 * beam_report_retention(r, i);
        beam_axis_cover(&x, &k, 1);
        beam_axis_cover(&y, &kept, 1);
    }
    beam_axis_round(&y);
    x.hi *= 1.06; /* room for the base, which stands at K */
    return beam_chart_open(to, "Share of the base's token accuracy that is retained, over Avg-K", x, y,
                           BEAM_CHART_WIDE, 380);
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

/* `taken` has room for two boxes per evaluation: the dots first, then the labels. */
static void draw_points(const beam_report *r, const beam_chart *c, box *taken)
{
    int n = 0;
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        const double kept = 100 * beam_report_retention(r, i);
        const double x = beam_chart_x(c, e->avg_active), y = beam_chart_y(c, kept);
        beam_chart_dot(c, e->avg_active, kept, series_of(e), r->eval[i].name);
        if (isfinite(x) && isfinite(y))
            taken[n++] = (box){x - 6, y - 6, x + 6, y + 6};
    }
    for (int i = 0, dot = 0; i < r->evals; i++) {
        const double kept = 100 * beam_report_retention(r, i);
        if (!isfinite(r->eval[i].result.avg_active) || !isfinite(kept))
            continue;
        const int characters = beam_characters(r->eval[i].name);
        const double width = letter * (characters < LABEL ? characters : LABEL);
        const box *d = &taken[dot++];
        const box b = place_label(c, d->left + 6, d->top + 6, width, taken, n);
        taken[n++] = b;
        /* Towards the point, so that a wrong guess of the width shows on the far side. */
        const bool on_left = b.right<d->left + 6, on_right = b.left> d->left + 6;
        fprintf(c->to, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">",
                on_right  ? b.left
                : on_left ? b.right
                          : (b.left + b.right) / 2,
                b.bottom - 3,
                on_right  ? "start"
                : on_left ? "end"
                          : "middle");
        beam_html_label(c->to, r->eval[i].name, LABEL);
        fputs("</text>\n", c->to);
    }
}

beam_status beam_report_quality(const beam_report *r, FILE *to)
{
    box *taken = calloc(2 * (size_t)r->evals, sizeof *taken);
    if (!taken)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %d points", r->evals);
    beam_figure_open(to, "Quality for experts run", "up and to the left is better", true);
    beam_figure_key(to, "c", "all candidates");
    beam_figure_key(to, "a", "masks");
    beam_figure_key(to, "b", "smaller top-k, without masks");
    beam_figure_body(to);
    const beam_chart c = open_quality(r, to);
    draw_points(r, &c, taken);
    beam_chart_close(&c);
    beam_figure_close(to);
    free(taken);
    return BEAM_OK;
}

static void draw_load(const beam_report_eval *eval, double most, FILE *to)
{
    const beam_evaluation *e = &eval->result;
    char until[48];
    const beam_axis x = {.label = "expert", .lo = -0.5, .hi = (double)e->experts - 0.5, .whole = true};
    const beam_axis y = {.label = "MoE layer", .lo = (double)e->layers - 0.5, .hi = -0.5, .whole = true};
    snprintf(until, sizeof until, "%.2g kept per token", most);
    beam_figure_open(to, "Load of each expert:", eval->name, e->experts > 64);
    beam_figure_ramp(to, "never", until);
    beam_figure_body(to);
    const double height = fmin(66 + 24 * (double)e->layers, 66 + 10 * (double)e->layers + 140);
    const beam_chart c = beam_chart_open(to, "How often each expert of each layer runs", x, y,
                                         e->experts > 64 ? BEAM_CHART_WIDE : BEAM_CHART_WIDTH, height);
    beam_chart_heat(&c, e->load, e->layers, e->experts, most, true);
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
