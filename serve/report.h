/* Evaluations and runs side by side: a table, and a page that needs nothing but itself. */
#ifndef BEAM_SERVE_REPORT_H
#define BEAM_SERVE_REPORT_H

#include <stdio.h>

#include "data/lm_eval.h"
#include "data/results.h"

typedef struct {
    char *name;
    beam_evaluation result;
} beam_report_eval;

typedef struct {
    char *name, *config; /* config.resolved.yaml; NULL if there is none */
    beam_history history;
} beam_report_run;

/* A model in lm-evaluation-harness. */
typedef struct {
    char *name;
    beam_lm_eval result;
} beam_report_model;

/* The first evaluation is the base that the others are compared with, and so is the first of the harness. */
typedef struct {
    beam_report_eval *eval;
    int evals;
    beam_report_run *run;
    int runs;
    beam_report_model *model;
    int models;
} beam_report;

/* Of evaluation i against the base: loss - loss of the base, in nats; accuracy / accuracy of the base. NAN
 * where unknown. */
double beam_report_gap(const beam_report *r, int i);
double beam_report_retention(const beam_report *r, int i);

/* Not all evaluations have as many targets as the base: they are hardly of the same text. */
bool beam_report_mixed(const beam_report *r);

/* A score's value / that of the base; NAN where the base has none, or where higher is not better. */
double beam_report_task_retention(const beam_report *r, const beam_lm_eval_score *s);

/* Not all models were asked as many questions of a task as the base, or with as many examples. */
bool beam_report_tasks_mixed(const beam_report *r);

/* A run's last evaluation, BEAM_EVAL_...; NAN if there was none. */
double beam_report_last_eval(const beam_report_run *run, int column);

/* Tables of the evaluations, the tasks and the runs, as text. BEAM_ENOMEM is the only failure. */
beam_status beam_report_print(const beam_report *r, FILE *to);

/* Writes the page with the guarantees of beam_file_write. */
beam_status beam_report_write(const beam_report *r, const char *path);

#endif
