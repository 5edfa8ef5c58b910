/* Small charts as inline SVG for the pages of serve/html.h, whose style sheet names the colours.
 *
 *     beam_figure_open(to, "Loss", "nats per token", false);
 *     beam_figure_body(to);
 *     beam_chart c = beam_chart_open(to, "Loss over steps", x, y, BEAM_CHART_WIDTH, BEAM_CHART_HEIGHT);
 *     beam_chart_line(&c, step, loss, n, "line", 1);
 *     beam_chart_close(&c);
 *     beam_chart_tip(&c, step[9], loss[9], "step 10\n1.25 nats");
 *     beam_figure_close(to);
 *
 * A series is a number from 0 and has a colour, a shape of its marks and a dash of its lines. 0 is neutral;
 * colours, shapes and dashes repeat at different distances, so that many series can be told apart. */
#ifndef BEAM_SERVE_CHART_H
#define BEAM_SERVE_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { /* units of a chart; half of the page is as wide, and a telephone shows it at half that size */
       BEAM_CHART_WIDTH = 560,
       BEAM_CHART_WIDE = 1140,
       BEAM_CHART_HEIGHT = 330,
       BEAM_HEAT_LEVELS = 10
};

/* A card with a title and a note (may be NULL); then, behind the body, one chart. */
void beam_figure_open(FILE *to, const char *title, const char *note, bool wide);
/* The colours of levels first to last of a scale, 'h' or 't' in the style sheet. */
void beam_figure_ramp(FILE *to, const char *from, char scale, int first, int last, const char *until);
void beam_figure_body(FILE *to);
void beam_figure_close(FILE *to);

/* The mark of a series, or a piece of its line, in the size of text; and with a text behind it. */
void beam_series_swatch(FILE *to, int series, bool line);
void beam_series_key(FILE *to, int series, bool line, const char *label);

/* From `lo` (left, bottom) to `hi`, which may be the smaller one. */
typedef struct {
    const char *label; /* with its unit */
    double lo, hi;
    bool whole; /* ticks at whole numbers only */
    int base;   /* > 0: values are logarithms to this base; ticks say the numbers */
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
    double full_width, full_height;  /* of all */
} beam_chart;

/* The frame: axes, ticks, labels. `title` is for those who cannot see it. */
beam_chart beam_chart_open(FILE *to, const char *title, beam_axis x, beam_axis y, double width,
                           double height);
void beam_chart_close(const beam_chart *c);

/* Units. */
double beam_chart_x(const beam_chart *c, double x);
double beam_chart_y(const beam_chart *c, double y);

/* A line, cut at the frame, with gaps where y is not finite. At most about a thousand points are drawn: of
 * more, the lowest and the highest of each group. `kind` is "line", "faint", "join" or "limit"; series < 0:
 * the kind tells the colour. */
void beam_chart_line(const beam_chart *c, const double *x, const double *y, int64_t n, const char *kind,
                     int series);

/* A point; nothing where it is not finite. */
void beam_chart_mark(const beam_chart *c, double x, double y, int series);

/* After close: a text that shows where the mouse or a finger points at; the first line stands out. */
void beam_chart_tip(const beam_chart *c, double x, double y, const char *text);

/* value[rows][columns] as coloured cells that fill the frame, row 0 on top. Level 0 is for exactly 0; the
 * others divide the square roots up to that of `most` evenly, so that small values can be told apart. */
void beam_chart_heat(const beam_chart *c, const double *value, int64_t rows, int64_t columns, double most);

#endif
