#include "serve/table.h"

#include <math.h>

#include "serve/chart.h"
#include "serve/html.h"

static void print_name(FILE *to, const char *name, int width)
{
    fprintf(to, "%s%*s", name, width - beam_characters(name), "");
}

static int count_columns(const beam_table *t)
{
    int n = 0;
    while (n < BEAM_TABLE_COLUMNS && t->header[n])
        n++;
    return n;
}

static int longer(int width, const char *text)
{
    const int n = beam_characters(text);
    return n > width ? n : width;
}

static void print_cell(FILE *to, const char *text, int width)
{
    fprintf(to, "  %*s%s", width - beam_characters(text), "", text);
}

void beam_table_text(const beam_table *t, FILE *to)
{
    int width = beam_characters(t->title);
    for (int i = 0; i < t->rows; i++)
        width = longer(width, t->row[i].name);
    const int columns = count_columns(t);
    int column[BEAM_TABLE_COLUMNS];
    print_name(to, t->title, width);
    for (int c = 0; c < columns; c++) {
        column[c] = beam_characters(t->header[c]);
        for (int i = 0; i < t->rows; i++)
            column[c] = longer(column[c], t->row[i].cell[c]);
        print_cell(to, t->header[c], column[c]);
    }
    putc('\n', to);
    for (int i = 0; i < t->rows; i++) {
        print_name(to, t->row[i].name, width);
        for (int c = 0; c < columns; c++)
            print_cell(to, t->row[i].cell[c], column[c]);
        putc('\n', to);
    }
}

void beam_table_html(const beam_table *t, FILE *to)
{
    const int columns = count_columns(t);
    fprintf(to, "<table>\n<thead><tr><th scope=\"col\">%s</th>", t->title);
    for (int c = 0; c < columns; c++) {
        fputs("<th scope=\"col\">", to);
        beam_html_text(to, t->header[c]);
        fputs("</th>", to);
    }
    fputs("</tr></thead>\n<tbody>\n", to);
    for (int i = 0; i < t->rows; i++) {
        fputs("<tr><th scope=\"row\">", to);
        if (t->row[i].series >= 0)
            beam_series_swatch(to, t->row[i].series, t->lines);
        beam_html_text(to, t->row[i].name);
        fputs("</th>", to);
        for (int c = 0; c < columns; c++)
            fprintf(to, "<td>%s</td>", t->row[i].cell[c]);
        fputs("</tr>\n", to);
    }
    fputs("</tbody>\n</table>\n", to);
}

void beam_table_set(char cell[24], const char *format, double value)
{
    if (!isfinite(value))
        snprintf(cell, 24, "-");
    else
        snprintf(cell, 24, fabs(value) < 1e9 ? format : "%.3g", value);
}
