#include <math.h>

#include "serve/chart.h"
#include "serve/html.h"

enum { MAX_POINTS = 1000, COLOURS = 6, SHAPES = 5, DASHES = 3 };

/* "s4 dash1". */
static void print_look(FILE *to, int series)
{
    fprintf(to, "s%d", series > 0 ? 1 + (series - 1) % COLOURS : 0);
    const int dash = series > 0 ? (series - 1) / COLOURS % DASHES : 0;
    if (dash > 0)
        fprintf(to, " dash%d", dash);
}

static void print_mark(FILE *to, int series)
{
    static const char *const shape[SHAPES] = {"M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
                                              "M-5-5h10v10h-10z", "M0-7l7 7l-7 7l-7-7z",
                                              "M0-6.5l6.8 11.8h-13.6z", "M0 6.5l6.8-11.8h-13.6z"};
    fputs("<path class=\"mark ", to);
    print_look(to, series);
    fprintf(to, "\" d=\"%s\"/>", shape[series % SHAPES]);
}

void beam_series_swatch(FILE *to, int series, bool line)
{
    fputs("<svg class=\"swatch\" viewBox=\"-8 -8 16 16\" aria-hidden=\"true\">", to);
    if (line) {
        fputs("<path class=\"line ", to);
        print_look(to, series);
        fputs("\" d=\"M-8 0h16\"/>", to);
    } else {
        print_mark(to, series);
    }
    fputs("</svg>", to);
}

void beam_series_key(FILE *to, int series, bool line, const char *label)
{
    fputs("<span class=\"key\">", to);
    beam_series_swatch(to, series, line);
    fputs("<span>", to);
    beam_html_text(to, label);
    fputs("</span></span>\n", to);
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

void beam_chart_line(const beam_chart *c, const double *x, const double *y, int64_t n, const char *kind,
                     int series)
{
    const int64_t group = n <= MAX_POINTS ? 1 : (2 * n + MAX_POINTS - 1) / MAX_POINTS;
    pen p = {.c = c};
    /* An inner <svg> is a clip path that needs no name. */
    fprintf(c->to, "<svg x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><path class=\"%s", c->left,
            c->top, c->width, c->height, kind);
    if (series >= 0) {
        putc(' ', c->to);
        print_look(c->to, series);
    }
    fputs("\" d=\"", c->to);
    for (int64_t i = 0; i < n; i += group)
        draw_group(&p, x + i, y + i, n - i < group ? n - i : group);
    fputs("\"/></svg>\n", c->to);
}

void beam_chart_mark(const beam_chart *c, double x, double y, int series)
{
    if (!isfinite(x) || !isfinite(y))
        return;
    fprintf(c->to, "<g transform=\"translate(%.1f %.1f)\">", beam_chart_x(c, x), beam_chart_y(c, y));
    print_mark(c->to, series);
    fputs("</g>\n", c->to);
}

void beam_chart_tip(const beam_chart *c, double x, double y, const char *text)
{
    if (!isfinite(x) || !isfinite(y))
        return;
    /* The text stands on the side where there is more room. */
    const double right = 100 * beam_chart_x(c, x) / c->full_width;
    const double down = 100 * beam_chart_y(c, y) / c->full_height;
    fprintf(c->to, "<span class=\"hit%s%s\" tabindex=\"-1\" style=\"left:%.2f%%;top:%.2f%%\"><span>",
            right > 50 ? " l" : "", down > 50 ? " u" : "", right, down);
    beam_html_text(c->to, text);
    fputs("</span></span>\n", c->to);
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
            "preserveAspectRatio=\"none\" fill=\"currentColor\"%s>\n",
            c->left, c->top, c->width, c->height, (long long)columns, (long long)rows,
            columns > 64 ? " class=\"dense\"" : "");
    for (int level = 0; level < BEAM_HEAT_LEVELS; level++) {
        fprintf(c->to, "<path class=\"cell h%d\" vector-effect=\"non-scaling-stroke\" d=\"", level);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t column = 0; column < columns; column++)
                if (heat_level(value[row * columns + column], most) == level)
                    fprintf(c->to, "M%lld %lldh1v1h-1z", (long long)column, (long long)row);
        fputs("\"/>\n", c->to);
    }
    fputs("</svg>\n", c->to);
}
