#include "serve/chart.h"

#include <math.h>

#include "serve/html.h"

enum { MAX_POINTS = 1000, LEFT = 46, RIGHT = 22, TOP = 26, BOTTOM = 40, TICKS_ACROSS = 75, TICKS_UP = 38 };

void beam_figure_open(FILE *to, const char *title, const char *note, bool wide)
{
    fprintf(to, "<figure%s><figcaption><b>", wide ? " class=\"wide\"" : "");
    beam_html_text(to, title);
    fputs("</b>", to);
    if (note) {
        fputs("<span>", to);
        beam_html_text(to, note);
        fputs("</span>", to);
    }
}

void beam_figure_key(FILE *to, const char *series, const char *label)
{
    fprintf(to, "<span class=\"key\"><i class=\"%s\"></i>", series);
    beam_html_text(to, label);
    fputs("</span>", to);
}

void beam_figure_ramp(FILE *to, const char *from, int first, const char *until)
{
    fputs("<span class=\"key ramp\"><span>", to);
    beam_html_text(to, from);
    fputs("</span>", to);
    for (int i = first; i < BEAM_HEAT_LEVELS; i++)
        fprintf(to, "<i class=\"h%d\"></i>", i);
    fputs("<span>", to);
    beam_html_text(to, until);
    fputs("</span></span>", to);
}

void beam_figure_body(FILE *to)
{
    fputs("</figcaption>\n", to);
}

void beam_figure_close(FILE *to)
{
    fputs("</figure>\n", to);
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
    return a->whole ? fmax(1, round(step)) : step;
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
static void print_tick(FILE *to, double value, double step, double largest)
{
    if (value == 0) {
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
                    "<path class=\"axis\" d=\"M%.1f %.1fv5\"/><text x=\"%.1f\" y=\"%.1f\" "
                    "text-anchor=\"middle\">",
                    x, c->top + c->height, x, c->top + c->height + 18);
        } else {
            const double y = beam_chart_y(c, value);
            fprintf(c->to,
                    "<path class=\"gridline\" d=\"M%.1f %.1fh%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                    "text-anchor=\"end\">",
                    c->left, y, c->width, c->left - 8, y + 4);
        }
        print_tick(c->to, value, step, largest);
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
                          .height = height - TOP - BOTTOM};
    fprintf(to, "<svg role=\"img\" viewBox=\"0 0 %.0f %.0f\">\n<title>", width, height);
    beam_html_text(to, title);
    fputs("</title>\n", to);
    draw_ticks(&c, &c.y, false);
    draw_ticks(&c, &c.x, true);
    fprintf(to, "<path class=\"axis\" d=\"M%.1f %.1fh%.1f\"/>\n", c.left, c.top + c.height, c.width);
    fprintf(to, "<text class=\"label\" x=\"%.1f\" y=\"14\">", c.left - 38);
    beam_html_text(to, y.label);
    fprintf(to, "</text>\n<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", c.left + c.width,
            height - 6);
    beam_html_text(to, x.label);
    fputs("</text>\n", to);
    return c;
}

void beam_chart_close(const beam_chart *c)
{
    fputs("</svg>\n", c->to);
}

typedef struct {
    const beam_chart *c;
    bool down; /* the pen is on paper */
} pen;

static void move_pen(pen *p, double x, double y)
{
    if (isfinite(y))
        fprintf(p->c->to, "%c%.1f %.1f", p->down ? 'L' : 'M', beam_chart_x(p->c, x) - p->c->left,
                fmax(-1e5, fmin(1e5, beam_chart_y(p->c, y) - p->c->top)));
    p->down = isfinite(y);
}

/* The lowest and the highest of a group, in their order. */
static void draw_group(pen *p, const double *x, const double *y, int64_t n)
{
    int64_t low = 0, high = 0;
    for (int64_t i = 1; i < n; i++) {
        if (!(y[i] >= y[low]))
            low = isfinite(y[i]) ? i : low;
        if (!(y[i] <= y[high]))
            high = isfinite(y[i]) ? i : high;
    }
    const int64_t first = low < high ? low : high, second = low < high ? high : low;
    move_pen(p, x[first], y[first]);
    if (second != first)
        move_pen(p, x[second], y[second]);
}

void beam_chart_line(const beam_chart *c, const double *x, const double *y, int64_t n, const char *style)
{
    const int64_t group = n <= MAX_POINTS ? 1 : (2 * n + MAX_POINTS - 1) / MAX_POINTS;
    pen p = {.c = c};
    /* An inner <svg> is a clip path that needs no name. */
    fprintf(c->to, "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><path class=\"%s\" d=\"",
            c->left, c->top, c->width, c->height, style);
    for (int64_t i = 0; i < n; i += group)
        draw_group(&p, x + i, y + i, n - i < group ? n - i : group);
    fputs("\"/></svg>\n", c->to);
}

void beam_chart_dot(const beam_chart *c, double x, double y, const char *series, const char *text)
{
    if (!isfinite(x) || !isfinite(y))
        return;
    fprintf(c->to, "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\"><title>", series,
            beam_chart_x(c, x), beam_chart_y(c, y));
    beam_html_text(c->to, text);
    fputs("</title></circle>\n", c->to);
}

static int heat_level(double value, double most)
{
    if (!(value > 0))
        return 0;
    const int top = BEAM_HEAT_LEVELS - 1;
    return value >= most ? top : 1 + (int)(sqrt(value / most) * top);
}

void beam_chart_heat(const beam_chart *c, const double *value, int64_t rows, int64_t columns, double most)
{
    fprintf(c->to,
            "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" viewBox=\"0 0 %lld %lld\" "
            "preserveAspectRatio=\"none\" fill=\"currentColor\">\n",
            c->left, c->top, c->width, c->height, (long long)columns, (long long)rows);
    for (int level = 0; level < BEAM_HEAT_LEVELS; level++) {
        fprintf(c->to, "<path class=\"tile h%d\" vector-effect=\"non-scaling-stroke\" d=\"", level);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < columns; column++)
                if (heat_level(value[row * columns + column], most) == level)
                    fprintf(c->to, "M%lld %lldh1v1h-1z", (long long)column, (long long)row);
        fputs("\"/>\n", c->to);
    }
    fputs("</svg>\n", c->to);
}
