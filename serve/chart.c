#include "serve/chart.h"

#include <math.h>

#include "serve/html.h"

enum { LEFT = 62, RIGHT = 36, TOP = 34, BOTTOM = 52, TICKS_ACROSS = 85, TICKS_UP = 42 };

void beam_figure_open(FILE *to, const char *title, const char *note, bool wide)
{
    fprintf(to, "<figure%s>\n<figcaption><b>", wide ? " class=\"wide\"" : "");
    beam_html_text(to, title);
    fputs("</b>", to);
    if (note) {
        fputs("<span>", to);
        beam_html_text(to, note);
        fputs("</span>", to);
    }
}

void beam_figure_ramp(FILE *to, const char *from, char scale, int first, int last, const char *until)
{
    fputs("<span class=\"ramp\"><span>", to);
    beam_html_text(to, from);
    fputs("</span>", to);
    for (int i = first; i <= last; i++)
        fprintf(to, "<i class=\"%c%d\"></i>", scale, i);
    fputs("<span>", to);
    beam_html_text(to, until);
    fputs("</span></span>", to);
}

void beam_figure_body(FILE *to)
{
    fputs("</figcaption>\n<div><div class=\"plot\">\n", to);
}

void beam_figure_close(FILE *to)
{
    fputs("</div></div>\n</figure>\n", to);
}

beam_axis beam_axis_empty(const char *label)
{
    return (beam_axis){.label = label, .lo = INFINITY, .hi = -INFINITY};
}

void beam_axis_cover(beam_axis *a, const double *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(value[i]))
            continue;
        a->lo = fmin(a->lo, value[i]);
        a->hi = fmax(a->hi, value[i]);
    }
}

/* The distance of ticks: 1, 2 or 5 times a power of ten, so that at most about `n` fit. */
static double tick_step(const beam_axis *a, double n)
{
    const double least = fabs(a->hi - a->lo) / n, power = pow(10, floor(log10(least)));
    const double part = least / power;
    const double step = power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
    return a->whole || a->base ? fmax(1, round(step)) : step;
}

void beam_axis_round(beam_axis *a)
{
    if (!(a->lo <= a->hi)) {
        a->lo = 0;
        a->hi = 1;
    }
    const double largest = fmax(fabs(a->lo), fabs(a->hi)), least = 1e-30;
    if (a->hi - a->lo <= fmax(1e-6 * largest, least)) {
        const double more = largest > least ? largest / 2 : 0.5;
        a->lo -= more;
        a->hi += more;
    }
    const double step = tick_step(a, 5);
    a->lo = step * floor(a->lo / step + 1e-9);
    a->hi = step * ceil(a->hi / step - 1e-9);
}

/* A round number in few characters: 20k, 0.05, 2e-5. */
static void print_tick(FILE *to, double value, double step, double largest, int base)
{
    if (base > 0) {
        fprintf(to, "%.4g", pow(base, value));
    } else if (value == 0) {
        putc('0', to);
    } else if (largest >= 1e4 && largest < 1e12) {
        const bool millions = largest >= 1e7;
        fprintf(to, "%.10g%c", value / (millions ? 1e6 : 1e3), millions ? 'M' : 'k');
    } else if (largest < 1e-2 || largest >= 1e12) {
        const double exponent = floor(log10(largest));
        fprintf(to, "%.3ge%.0f", value / pow(10, exponent), exponent);
    } else {
        const double digits = -floor(log10(step) + 1e-9);
        fprintf(to, "%.*f", digits > 0 ? (int)digits : 0, value);
    }
}

double beam_chart_x(const beam_chart *c, double x)
{
    return c->left + c->width * (x - c->x.lo) / (c->x.hi - c->x.lo);
}

double beam_chart_y(const beam_chart *c, double y)
{
    return c->top + c->height * (1 - (y - c->y.lo) / (c->y.hi - c->y.lo));
}

static void draw_ticks(const beam_chart *c, const beam_axis *a, bool across)
{
    const double low = fmin(a->lo, a->hi), high = fmax(a->lo, a->hi);
    const double step = tick_step(a, fmax(2, across ? c->width / TICKS_ACROSS : c->height / TICKS_UP));
    const double largest = fmax(fabs(low), fabs(high));
    for (double i = ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
        const double value = i == 0 ? 0 : i * step; /* no minus zero */
        if (across) {
            const double x = beam_chart_x(c, value);
            fprintf(c->to,
                    "<path class=\"axis\" d=\"M%.1f %.1fv5\"/><text class=\"across\" x=\"%.1f\" "
                    "y=\"%.1f\" text-anchor=\"middle\">",
                    x, c->top + c->height, x, c->top + c->height + 21);
        } else {
            const double y = beam_chart_y(c, value);
            fprintf(c->to,
                    "<path class=\"gridline\" d=\"M%.1f %.1fh%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                    "text-anchor=\"end\">",
                    c->left, y, c->width, c->left - 8, y + 4.5);
        }
        print_tick(c->to, value, step, largest, a->base);
        fputs("</text>\n", c->to);
    }
}

beam_chart beam_chart_open(FILE *to, const char *title, beam_axis x, beam_axis y, double width, double height)
{
    const beam_chart c = {.to = to,
                          .x = x,
                          .y = y,
                          .left = LEFT,
                          .top = TOP,
                          .width = width - LEFT - RIGHT,
                          .height = height - TOP - BOTTOM,
                          .full_width = width,
                          .full_height = height};
    fprintf(to, "<svg role=\"img\" aria-label=\"");
    beam_html_text(to, title);
    fprintf(to, "\" viewBox=\"0 0 %.0f %.0f\">\n", width, height);
    draw_ticks(&c, &c.y, false);
    draw_ticks(&c, &c.x, true);
    fprintf(to, "<path class=\"axis\" d=\"M%.1f %.1fh%.1f\"/>\n", c.left, c.top + c.height, c.width);
    fprintf(to, "<text class=\"label upward\" x=\"4\" y=\"18\">");
    beam_html_text(to, y.label);
    fprintf(to, "</text>\n<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", c.left + c.width,
            height - 5);
    beam_html_text(to, x.label);
    fputs("</text>\n", to);
    return c;
}

void beam_chart_close(const beam_chart *c)
{
    fputs("</svg>\n", c->to);
}
