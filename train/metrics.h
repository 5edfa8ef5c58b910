/* What a run writes while it goes: metrics.jsonl, one object per step, for machines; the same numbers for
 * TensorBoard; a progress line for people. */
#ifndef BEAM_TRAIN_METRICS_H
#define BEAM_TRAIN_METRICS_H

#include <stdio.h>

#include "data/tensorboard.h"
#include "train/eval.h"
#include "train/trainer.h"

typedef struct {
    FILE *file;
    char path[BEAM_PATH_MAX + 32];
    beam_tensorboard events; /* closed: report_to is none, or it could not be written */
} beam_metrics;

/* Opens output_dir/metrics.jsonl for appending and drops what stands after `step` (lines of a run that was
 * cut off after its last checkpoint); with report_to tensorboard begins an event file that has TensorBoard
 * drop the same. metrics.jsonl is the record of a run, which ends where it cannot be written. Event files
 * hold a copy: the first failure is a warning, and the run goes on without them. */
beam_status beam_metrics_open(beam_metrics *m, const beam_config *c, int64_t step);
beam_status beam_metrics_close(beam_metrics *m);

/* Closes after a failure, whose message stays the last error. */
void beam_metrics_abandon(beam_metrics *m);

/* One line: step loss task_loss mask_loss avg_active penalty grad_norm lr [balance_loss] tokens_per_s
 * data_wait seconds tokens skipped active[...], of a step that took `spent` seconds, of them `waited` for
 * data. BEAM_EIO if it cannot be written. TensorBoard: train/loss and so on without the last three before
 * active, and active/layer_00, ... */
beam_status beam_metrics_step(beam_metrics *m, const beam_trainer *t, const beam_step_result *r, double spent,
                              double waited);

/* One line: step eval_loss eval_accuracy eval_avg_active eval_moe_flops_saved. TensorBoard: eval/loss, ... */
beam_status beam_metrics_eval(beam_metrics *m, const beam_trainer *t, const beam_eval_result *r);

/* step 120/2000 6.0% | loss 1.2345 (task 1.20 mask 0.03) | active 3.90/8 | beta 0.30 | gnorm 0.41 |
 * lr 9.1e-05 | 5812 tok/s | ETA 1:04:22 */
void beam_progress(const beam_trainer *t, const beam_step_result *r, double tokens_per_s,
                   double seconds_per_step);

#endif
