#include <math.h>
#include <stdlib.h>

#include "serve/chart.h"
#include "serve/report_parts.h"
#include "serve/table.h"

static const double log_size[BEAM_BATCH_SIZES] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

/* Batch sizes 1, 2, 4, ... until the largest that any evaluation tells. */
static int count_sizes(const beam_report *r)
{
    int n = 0;
    for (int i = 0; i < r->evals; i++)
        for (int b = n; b < BEAM_BATCH_SIZES; b++)
            if (isfinite(r->eval[i].result.distinct[b]))
                n = b + 1;
    return n;
}

/* What a chart shows of evaluation i for 2^size tokens. */
typedef double measure(const beam_report *r, int i, int size);

static double distinct(const beam_report *r, int i, int size)
{
    return r->eval[i].result.distinct[size];
}

static double share_of_base(const beam_report *r, int i, int size)
{
    const double base = distinct(r, 0, size);
    return base > 0 ? 100 * distinct(r, i, size) / base : NAN;
}

static void tell(const beam_chart *c, const beam_report *r, int i, int size, double at)
{
    char text[320];
    const double share = share_of_base(r, i, size);
    int n = snprintf(text, sizeof text, "%.200s\n%.1f experts for %d token%s", r->eval[i].name,
                     distinct(r, i, size), 1 << size, size > 0 ? "s" : "");
    if (i > 0 && isfinite(share))
        snprintf(text + n, sizeof text - (size_t)n, "\n%.0f %% of the base's", share);
    beam_chart_tip(c, log_size[size], at, text);
}

/* One line for each evaluation. */
static void draw_chart(const beam_report *r, const beam_report_groups *g, int sizes, const char *title,
                       const char *note, beam_axis y, measure *value, FILE *to)
{
    const beam_axis x = {.label = "tokens in the batch", .lo = -0.15, .hi = sizes - 0.85, .base = 2};
    double at[BEAM_BATCH_SIZES];
    beam_axis_round(&y);
    beam_figure_open(to, title, note, false);
    beam_figure_body(to);
    const beam_chart c = beam_chart_open(to, title, x, y, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT + 30);
    for (int i = r->evals - 1; i >= 0; i--) { /* the base on top */
        for (int b = 0; b < sizes; b++)
            at[b] = value(r, i, b);
        beam_chart_line(&c, log_size, at, sizes, "join", g->of[i]);
        for (int b = 0; b < sizes; b++)
            beam_chart_mark(&c, log_size[b], at[b], g->of[i]);
    }
    beam_chart_close(&c);
    for (int i = 0; i < r->evals; i++)
        for (int b = 0; b < sizes; b++)
            tell(&c, r, i, b, value(r, i, b));
    beam_figure_close(to);
}

static void draw_charts(const beam_report *r, const beam_report_groups *g, int sizes, FILE *to)
{
    beam_axis count = beam_axis_empty("experts per layer"), share = beam_axis_empty("% of the base's");
    const double both[2] = {0, 100};
    bool shares = false;
    beam_axis_cover(&count, both, 1);
    beam_axis_cover(&share, both, 2);
    for (int i = 0; i < r->evals; i++)
        for (int b = 0; b < sizes; b++) {
            const double n = distinct(r, i, b), part = share_of_base(r, i, b);
            beam_axis_cover(&count, &n, 1);
            beam_axis_cover(&share, &part, 1);
            shares = shares || (i > 0 && isfinite(part));
        }
    draw_chart(r, g, sizes, "Different experts needed", "Lower is better; colours as above.", count, distinct,
               to);
    if (shares)
        draw_chart(r, g, sizes, "Beside the base", "The same, in percent of what the base needs.", share,
                   share_of_base, to);
}

static beam_status print_numbers(const beam_report *r, const beam_report_groups *g, int sizes, FILE *to)
{
    char header[BEAM_BATCH_SIZES][8];
    beam_table t = {.title = "tokens in the batch", .rows = r->evals};
    beam_table_row *rows = calloc((size_t)r->evals + 1, sizeof *rows);
    if (!rows)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a table of %d rows", r->evals);
    for (int b = 0; b < sizes; b++) {
        snprintf(header[b], sizeof header[b], "%d", 1 << b);
        t.header[b] = header[b];
    }
    for (int i = 0; i < r->evals; i++) {
        rows[i].name = r->eval[i].name;
        rows[i].series = g->of[i];
        for (int b = 0; b < sizes; b++)
            beam_table_set(rows[i].cell[b], "%.2f", r->eval[i].result.distinct[b]);
    }
    t.row = rows;
    fputs("<details class=\"card\"><summary>The numbers</summary>\n<div class=\"scroll\">\n", to);
    beam_table_html(&t, to);
    fputs("</div>\n</details>\n", to);
    free(rows);
    return BEAM_OK;
}

beam_status beam_report_batches(const beam_report *r, const beam_report_groups *g, FILE *to)
{
    const int sizes = count_sizes(r);
    if (sizes < 2)
        return BEAM_OK;
    fputs("<h2>Batches</h2>\n<p>Tokens of different texts, decoded together, need different experts: so many "
          "must be read from memory in each layer.</p>\n<div class=\"grid\">\n",
          to);
    draw_charts(r, g, sizes, to);
    fputs("</div>\n", to);
    return print_numbers(r, g, sizes, to);
}
