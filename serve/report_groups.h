/* Evaluations that belong together: one line of a chart, one colour. */
#ifndef BEAM_SERVE_REPORT_GROUPS_H
#define BEAM_SERVE_REPORT_GROUPS_H

#include "serve/report.h"

typedef struct {
    int n;
    int *of;      /* [evals] the group of each, numbered from 0 as they come; the base is in group 0 */
    char **label; /* [n] */
} beam_report_groups;

/* What evaluations of one group have in common: SERIES of the name SERIES/NAME; otherwise the name with N in
 * the place of its last number ("masks, target 2.5" becomes "masks, target N", "top-3, renormalised" becomes
 * "top-N, renormalised"). Free it; NULL without memory. */
char *beam_report_series(const char *name);

/* A group of one has its evaluation's name. BEAM_ENOMEM is the only failure; free with beam_report_ungroup.
 */
beam_status beam_report_group(const beam_report *r, beam_report_groups *out);
void beam_report_ungroup(beam_report_groups *g);

#endif
