#include <math.h>

#include "serve/chart.h"
#include "serve/report_parts.h"

enum { SHOWN = 4, WIDE_FROM = 65, SUMS_UNTIL = 32 };

static bool has_map(const beam_evaluation *e)
{
    return e->masks && e->load;
}

static int64_t count_idle(const beam_evaluation *e)
{
    int64_t n = 0;
    for (int64_t i = 0; i < e->layers * e->experts; i++)
        n += !(e->load[i] > 0);
    return n;
}

/* Kept experts of each layer, behind its row. */
static void draw_sums(const beam_chart *c, const beam_evaluation *e)
{
    fprintf(c->to, "<text class=\"upward\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">kept</text>\n",
            c->full_width - 2, c->top - 10);
    for (int64_t i = 0; i < e->layers; i++) {
        double sum = 0;
        for (int64_t k = 0; k < e->experts; k++)
            sum += isfinite(e->load[i * e->experts + k]) ? e->load[i * e->experts + k] : 0;
        fprintf(c->to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.1f</text>\n", c->full_width - 2,
                beam_chart_y(c, (double)i) + 4.5, sum);
    }
}

static void draw_map(const beam_report_eval *eval, double most, FILE *to)
{
    const beam_evaluation *e = &eval->result;
    const bool wide = e->experts >= WIDE_FROM, sums = e->layers <= SUMS_UNTIL;
    char note[96];
    const double columns = (double)e->experts, rows = (double)e->layers;
    const beam_axis x = {.label = "expert", .lo = -0.5, .hi = columns - 0.5, .whole = true};
    const beam_axis y = {.label = "MoE layer", .lo = rows - 0.5, .hi = -0.5, .whole = true};
    const int64_t idle = count_idle(e);
    snprintf(note, sizeof note, "%lld of %lld experts never run.", (long long)idle,
             (long long)(e->layers * e->experts));
    beam_figure_open(to, eval->name, idle ? note : "Every expert runs.", wide);
    snprintf(note, sizeof note, "%.2g per token", most);
    beam_figure_ramp(to, "never", 'h', 0, BEAM_HEAT_LEVELS - 1, note);
    beam_figure_body(to);
    beam_chart c =
        beam_chart_open(to, "How often each expert of each layer runs", x, y,
                        wide ? BEAM_CHART_WIDE : BEAM_CHART_WIDTH, 86 + fmin(24 * rows, 140 + 10 * rows));
    beam_chart_heat(&c, e->load, e->layers, e->experts, most);
    if (sums)
        draw_sums(&c, e);
    beam_chart_close(&c);
    beam_figure_close(to);
}

void beam_report_loads(const beam_report *r, FILE *to)
{
    double most = 0; /* one scale for all, so that they can be compared */
    int maps = 0, drawn = 0;
    for (int i = 0; i < r->evals; i++) {
        const beam_evaluation *e = &r->eval[i].result;
        maps += has_map(e);
        for (int64_t k = 0; has_map(e) && k < e->layers * e->experts; k++)
            most = fmax(most, e->load[k]);
    }
    if (maps == 0)
        return;
    fputs("<h2>Which experts run</h2>\n<p>Each row is a MoE layer, each cell an expert; the colour says how "
          "often "
          "it runs (square-root scale, the same for all).</p>\n<div class=\"grid\">\n",
          to);
    for (int i = 0; i < r->evals; i++) {
        if (!has_map(&r->eval[i].result))
            continue;
        if (drawn++ == SHOWN)
            fprintf(to, "</div>\n<details class=\"more\"><summary>%d more</summary>\n<div class=\"grid\">\n",
                    maps - SHOWN);
        draw_map(&r->eval[i], most, to);
    }
    fputs(drawn > SHOWN ? "</div>\n</details>\n" : "</div>\n", to);
}
