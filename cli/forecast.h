/* What training will take, and whether it fits: made once, printed by `beam estimate` and by `beam train
 * --dry-run`, and what `beam init` sizes a configuration by. */
#ifndef BEAM_CLI_FORECAST_H
#define BEAM_CLI_FORECAST_H

#include "train/estimate.h"

enum { BEAM_MOST_RANKS = 1 << 16 };

typedef struct {
    beam_config config;
    int64_t ranks;
    double memory; /* GB to judge by; 0: what is here */
    beam_estimate estimate;
    beam_host_memory machine; /* or the GPU's, if one computes */
    bool known, fits;         /* known: what there is */
    beam_advice advice[BEAM_ADVICE];
    int n_advice;
} beam_forecast;

/* From config, ranks and memory. BEAM_ECONFIG if the last two are out of range. */
beam_status beam_forecast_make(beam_forecast *f);

/* BEAM_ECONFIG, with the numbers, unless it fits or nothing is known. */
beam_status beam_forecast_require(const beam_forecast *f);

/* Model and step; memory and disk; the verdict with its advice. On stdout. */
void beam_forecast_print_model(const beam_forecast *f);
void beam_forecast_print_memory(const beam_forecast *f);
void beam_forecast_print_verdict(const beam_forecast *f);

/* Lines of such tables, wrapped to the terminal: "  name   12.34 MB  note" (nothing for 0 bytes), "  name
 * text".
 */
void beam_forecast_print_bytes(const char *name, uint64_t bytes, const char *note);
void beam_forecast_print_line(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
