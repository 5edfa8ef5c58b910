/* Large numbers as people read them. */
#ifndef BEAM_CLI_QUANTITY_H
#define BEAM_CLI_QUANTITY_H

#include <stdint.h>

/* Memory for the text, so that several fit into one printf; each function returns `text`. */
typedef struct {
    char text[128];
} beam_quantity;

const char *beam_quantity_digits(beam_quantity *q, int64_t n); /* "30,532,122,624" */
const char *beam_quantity_short(beam_quantity *q, double n);   /* "30.53 B", "3.90 M", "120" */
const char *beam_quantity_flops(beam_quantity *q, double n);   /* "54.20 TFLOP" */
const char *beam_quantity_seconds(beam_quantity *q, double n); /* "0.250 s", "12.3 s", "1:04:22", "3 d 4 h" */
const char *beam_quantity_bytes(beam_quantity *q, double n);   /* "61.06 GB": 10^9 bytes */

/* "30,532,122,624 (30.53 B), 3,353,032,704 active per token (3.35 B)" */
const char *beam_quantity_parameters(beam_quantity *q, int64_t total, int64_t active);

#endif
