#include "serve/table.h"

#include <math.h>
#include <string.h>

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

void beam_table_text(const beam_table *t, FILE *to)
{
    int width = beam_characters(t->title);
    for (int i = 0; i < t->rows; i++) {
        const int n = beam_characters(t->row[i].name);
        width = n > width ? n : width;
    }
    const int columns = count_columns(t);
    size_t column[BEAM_TABLE_COLUMNS];
    print_name(to, t->title, width);
    for (int c = 0; c < columns; c++) {
        column[c] = strlen(t->header[c]);
        for (int i = 0; i < t->rows; i++)
            if (strlen(t->row[i].cell[c]) > column[c])
                column[c] = strlen(t->row[i].cell[c]);
        fprintf(to, "  %*s", (int)column[c], t->header[c]);
    }
    putc('\n', to);
    for (int i = 0; i < t->rows; i++) {
        print_name(to, t->row[i].name, width);
        for (int c = 0; c < columns; c++)
            fprintf(to, "  %*s", (int)column[c], t->row[i].cell[c]);
        putc('\n', to);
    }
}

void beam_table_html(const beam_table *t, FILE *to)
{
    const int columns = count_columns(t);
    fprintf(to, "<table>\n<thead><tr><th scope=\"col\">%s</th>", t->title);
    for (int c = 0; c < columns; c++)
        fprintf(to, "<th scope=\"col\">%s</th>", t->header[c]);
    fputs("</tr></thead>\n<tbody>\n", to);
    for (int i = 0; i < t->rows; i++) {
        fputs("<tr><th scope=\"row\">", to);
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
