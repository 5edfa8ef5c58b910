/* A table of names and short texts, for a terminal and for a page. */
#ifndef BEAM_SERVE_TABLE_H
#define BEAM_SERVE_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { BEAM_TABLE_COLUMNS = 9 }; /* besides the name */

typedef struct {
    const char *name;
    int series; /* of serve/chart.h, whose mark stands at the name on a page; < 0: none */
    char cell[BEAM_TABLE_COLUMNS][24];
} beam_table_row;

typedef struct {
    const char *title;                      /* of the names */
    const char *header[BEAM_TABLE_COLUMNS]; /* NULL after the last column */
    bool lines;                             /* the series are lines on the page, not marks */
    const beam_table_row *row;
    int rows;
} beam_table;

/* Aligned columns of text. */
void beam_table_text(const beam_table *t, FILE *to);

/* <table>...</table> */
void beam_table_html(const beam_table *t, FILE *to);

/* A number through a printf format with one %f (and %% for a percent sign); "-" if it is not finite, and
 * as %.3g if it would not fit. */
void beam_table_set(char cell[24], const char *format, double value);

#endif
