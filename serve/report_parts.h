/* The parts of a report's page. BEAM_ENOMEM is the only failure of each. */
#ifndef BEAM_SERVE_REPORT_PARTS_H
#define BEAM_SERVE_REPORT_PARTS_H

#include "serve/report_groups.h"

/* Accuracy retained and loss gap over Avg-K, with a legend. Needs the base and another evaluation. */
beam_status beam_report_quality(const beam_report *r, const beam_report_groups *g, FILE *to);

/* Different experts that a batch of tokens needs, over its size; nothing if no evaluation tells. */
beam_status beam_report_batches(const beam_report *r, const beam_report_groups *g, FILE *to);

/* Heat maps of the experts' load, for evaluations with masks. */
void beam_report_loads(const beam_report *r, FILE *to);

/* Texts, coloured by the experts that their tokens keep; nothing if no evaluation holds one. */
beam_status beam_report_texts(const beam_report *r, FILE *to);

/* Scores of lm-evaluation-harness, tasks by models: as text those of whole tasks, on the page also those of
 * their parts, folded away. */
beam_status beam_report_tasks_print(const beam_report *r, FILE *to);
beam_status beam_report_tasks(const beam_report *r, FILE *to);

/* Loss and Avg-K of all runs; and what else there is of one, folded away unless it is the only one. */
beam_status beam_report_curves(const beam_report *r, FILE *to);
beam_status beam_report_run_details(const beam_report_run *run, bool open, FILE *to);

#endif
