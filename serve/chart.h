/* Small charts as inline SVG for the pages of serve/html.h, whose style sheet names the colours.
 *
 *     beam_figure_open(to, "Loss", "nats per token", false);
 *     beam_figure_key(to, "a", "training");
 *     beam_figure_body(to);
 *     beam_chart c = beam_chart_open(to, "Loss over steps", x, y, BEAM_CHART_WIDTH);
 *     beam_chart_line(&c, step, loss, n, "line a");
 *     beam_chart_close(&c);
 *     beam_figure_close(to);
 */
#ifndef BEAM_SERVE_CHART_H
#define BEAM_SERVE_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { BEAM_CHART_WIDTH = 560, BEAM_CHART_WIDE = 1140, BEAM_HEAT_LEVELS = 10 }; /* pixels at full size */

/* A card with a title, a note (may be NULL) and a legend. */
void beam_figure_open(FILE *to, const char *title, const char *note, bool wide);
void beam_figure_key(FILE *to, const char *series, const char *label);
/* The colours of a heat map, from level `first` on. */
void beam_figure_ramp(FILE *to, const char *from, int first, const char *until);
void beam_figure_body(FILE *to);
void beam_figure_close(FILE *to);

/* From `lo` (left, bottom) to `hi`, which may be the smaller one. */
typedef struct {
    const char *label; /* with its unit */
    double lo, hi;
    bool whole; /* ticks at whole numbers only */
} beam_axis;

/* An axis that covers nothing yet; widened by the finite ones of n values; and rounded to its ticks. An axis
 * that covers nothing or one value gets some room. */
beam_axis beam_axis_empty(const char *label);
void beam_axis_cover(beam_axis *a, const double *value, int64_t n);
void beam_axis_round(beam_axis *a);

typedef struct {
    FILE *to;
    beam_axis x, y;
    double left, top, width, height; /* of the plot area */
} beam_chart;

/* The frame: axes, ticks, labels. `title` is for those who cannot see it. */
beam_chart beam_chart_open(FILE *to, const char *title, beam_axis x, beam_axis y, double width,
                           double height);
void beam_chart_close(const beam_chart *c);

/* Pixels. */
double beam_chart_x(const beam_chart *c, double x);
double beam_chart_y(const beam_chart *c, double y);

/* A line, cut at the frame, with gaps where y is not finite. At most about a thousand points are drawn: of
 * more, the lowest and the highest of each group. */
void beam_chart_line(const beam_chart *c, const double *x, const double *y, int64_t n, const char *style);

/* A dot with a text that shows when pointed at. */
void beam_chart_dot(const beam_chart *c, double x, double y, const char *series, const char *text);

/* value[rows][columns] as coloured cells that fill the frame, row 0 on top. Level 0 is for exactly 0; the
 * others divide the square roots up to that of `most` evenly, so that small values can be told apart. */
void beam_chart_heat(const beam_chart *c, const double *value, int64_t rows, int64_t columns, double most);

#endif
