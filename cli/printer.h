/* JSON objects, member by member. */
#ifndef BEAM_CLI_PRINTER_H
#define BEAM_CLI_PRINTER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct {
    FILE *to;
    bool more; /* a member was printed: the next one needs a comma */
} beam_printer;

/* "{", and later "}", or "}" and the end of the line. */
beam_printer beam_print_open(FILE *to);
void beam_print_close(beam_printer *p);
void beam_print_end(beam_printer *p);

/* The key alone; the caller prints the value. */
void beam_print_key(beam_printer *p, const char *key);

/* Members. What JSON has no number for (NaN, infinity) is printed as null. */
void beam_print_f64(beam_printer *p, const char *key, double x);
void beam_print_i64(beam_printer *p, const char *key, int64_t x);
void beam_print_bool(beam_printer *p, const char *key, bool x);
void beam_print_text(beam_printer *p, const char *key, const char *text);
void beam_print_list(beam_printer *p, const char *key, const double *x, int64_t n);

/* "[1,2.5]" or a single number, without a key. */
void beam_print_numbers(FILE *to, const double *x, int64_t n, int digits);
void beam_print_number(FILE *to, double x, int digits);

#endif
