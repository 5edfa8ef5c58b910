/* The parts of a report's page. */
#ifndef BEAM_SERVE_REPORT_PARTS_H
#define BEAM_SERVE_REPORT_PARTS_H

#include "serve/report.h"

/* Accuracy retained over Avg-K, a labelled point for each evaluation. */
beam_status beam_report_quality(const beam_report *r, FILE *to);

/* A heat map of the experts' load for each evaluation with masks. */
void beam_report_loads(const beam_report *r, FILE *to);

/* The curves of one run; and of all runs together. BEAM_ENOMEM is the only failure. */
beam_status beam_report_curves(const beam_report_run *run, FILE *to);
beam_status beam_report_compare(const beam_report *r, FILE *to);

#endif
