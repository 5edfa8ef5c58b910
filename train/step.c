/* One optimizer step of the trainer. */
#include <math.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "model/load.h"
#include "optim/clip.h"
#include "train/signals.h"
#include "train/trainer.h"

static beam_target_state target_state(const beam_trainer *t)
{
    return (beam_target_state){.base = t->state.penalty, .average_active = t->state.average_active};
}

/* beta of the coming step: the controller's, or the fixed one after its linear warm-up. */
static double penalty_now(const beam_trainer *t)
{
    const beam_config *c = t->config;
    if (!beam_model_rule(t->model).masks)
        return 0;
    if (!isnan(c->mask.target_active)) {
        const beam_target_state s = target_state(t);
        return beam_target_penalty(&t->target, &s, t->state.step);
    }
    const double part = (double)(t->state.step + 1) / (double)(c->mask.penalty_warmup_steps + 1);
    return c->mask.penalty * (part < 1 ? part : 1);
}

/* Tokens of a union group in a micro-batch: it may be shorter than the configuration wants. */
static int64_t union_group(const beam_config *c, const beam_batch *batch)
{
    return c->mask.union_batch < batch->tokens ? c->mask.union_batch : batch->tokens;
}

/* Groups of the micro-batch with a real token, at least 1 so that one can divide by it. */
static int64_t union_groups(const beam_batch *batch, int64_t group)
{
    const int64_t stride = batch->tokens / group;
    int64_t used = 0;
    for (int64_t i = 0; i < stride; i++) {
        int64_t j = 0;
        while (j < group && !batch->counted[i + j * stride])
            j++;
        used += j < group;
    }
    return used > 0 ? used : 1;
}

/* The mask terms of a micro-batch. `unions` is the share of one group of one layer in the step's L_union. */
static beam_mask_terms mask_terms(const beam_trainer *t, double penalty, int64_t tokens, int64_t group,
                                  double unions)
{
    const beam_config *c = t->config;
    const beam_model_config *m = beam_model_config_of(t->model);
    return (beam_mask_terms){
        .penalty = penalty / ((double)beam_moe_layers(m) * (double)tokens * (double)m->top_k),
        .squared = c->mask.penalty_norm == BEAM_NORM_L2,
        .union_weight = c->mask.union_penalty * unions,
        .union_group = group,
    };
}

/* The soft mask's temperature moves by the same factor every step. */
static void set_form(beam_trainer *t)
{
    const beam_config *c = t->config;
    beam_expert_rule rule = beam_model_rule(t->model);
    const double part = (double)t->state.step / (double)t->total_steps;
    if (!rule.masks)
        return;
    rule.form = c->mask.form == BEAM_FORM_SOFT ? BEAM_MASK_SOFT : BEAM_MASK_HARD;
    rule.temperature = c->mask.temperature * pow(c->mask.temperature_end / c->mask.temperature, part);
    beam_model_set_rule(t->model, rule);
}

static void on_final(void *sum, int64_t from)
{
    beam_sum_final(sum, from);
}

/* Forward and backward of the micro-batch that begins at `row`; leaf[leaves.n] gets its numbers, as they
 * enter the loss. */
static beam_status run_leaf(beam_trainer *t, int64_t row, double penalty, const beam_step_result *r,
                            bool last, double *leaf)
{
    const beam_config *c = t->config;
    const double layers = (double)beam_moe_layers(beam_model_config_of(t->model));
    const beam_batch *batch;
    beam_forward_result result;
    const double began = beam_seconds();
    BEAM_TRY(beam_loader_read(t->train, row, -1, &batch));
    t->data_seconds += beam_seconds() - began;
    if (beam_log_threshold() == BEAM_LOG_DEBUG)
        beam_debug("rows from %lld: %016llx", (long long)row, (unsigned long long)beam_batch_hash(batch));
    const double share = (double)batch->counted_total / (double)r->tokens;
    const int64_t group = union_group(c, batch);
    const double unions = share / (layers * (double)union_groups(batch, group));
    beam_model_forward(t->model, batch, 1.0 / (double)r->targets);
    const beam_backward_args args = {.masks = mask_terms(t, penalty, r->tokens, group, unions),
                                     .balance = c->router_aux_loss_coef * share,
                                     .final = last ? on_final : NULL,
                                     .context = &t->sum};
    beam_model_backward(t->model, &args);
    BEAM_TRY(beam_model_result(t->model, &result));
    leaf[BEAM_SUM_LOSS] = result.loss;
    leaf[BEAM_SUM_DIVERGENCE] = result.divergence;
    leaf[BEAM_SUM_BALANCE] = result.balance * share;
    leaf[BEAM_SUM_UNIONS] = result.unions * unions;
    return beam_model_take_stats(t->model, leaf + BEAM_SUM_STATS);
}

/* This rank's micro-batches. Its own spans of the gradients end up with the sums over the whole step,
 * t->sums with this rank's. */
static beam_status accumulate(beam_trainer *t, const beam_step_result *r)
{
    const int64_t leaves = t->config->gradient_accumulation_steps;
    const int64_t first = t->state.rows + t->comm->rank * leaves * beam_trainer_rows(t);
    BEAM_TRY(beam_model_take_stats(t->model, NULL)); /* an evaluation may have left some */
    beam_model_zero_grads(t->model);
    for (int64_t i = 0; i < leaves; i++) {
        const bool last = i + 1 == leaves;
        BEAM_TRY(run_leaf(t, first + i * beam_trainer_rows(t), r->penalty, r, last, t->sums));
        if (!isfinite(t->sums[BEAM_SUM_LOSS]) && t->comm->size > 1)
            beam_warn("step %lld: the loss of this rank's rows is not finite", (long long)t->state.step + 1);
        beam_leaf_sums_push(&t->leaves, t->sums);
        if (!last)
            beam_sum_push(&t->sum);
    }
    beam_sum_finish(&t->sum);
    beam_grad_squares(&t->backend, beam_model_grads(t->model), t->shard.unit, t->shard.units, t->squares);
    beam_download(&t->backend, t->sums + t->leaves.n + 1, t->squares);
    return beam_sync(&t->backend);
}

/* Mean kept experts and mean soft mask over layers, from the step's statistics. */
static void measure_masks(beam_trainer *t, beam_step_result *out)
{
    const beam_model_config *m = beam_model_config_of(t->model);
    const int64_t layers = beam_moe_layers(m), columns = BEAM_STAT_EXPERTS + m->experts;
    const double *stats = t->sums + BEAM_SUM_STATS;
    for (int64_t i = 0; i < layers; i++) {
        const double *row = stats + i * columns;
        t->active[i] = row[BEAM_STAT_KEPT] / row[BEAM_STAT_TOKENS];
    }
    out->avg_active = beam_stats_mean(m, stats, BEAM_STAT_KEPT);
    out->mask_loss = beam_stats_mean(
        m, stats, t->config->mask.penalty_norm == BEAM_NORM_L2 ? BEAM_STAT_SQUARE : BEAM_STAT_SOFT);
}

/* What the whole step came to: the same on every rank. */
static beam_status measure(beam_trainer *t, beam_step_result *out)
{
    const beam_config *c = t->config;
    double *stops = t->sums + t->leaves.n, *squares = stops + 1;
    *stops = beam_signals_stop();
    BEAM_TRY(beam_comm_sum(t->comm, t->sums, t->leaves.n + 1 + t->shard.units));
    out->stop = *stops > 0;
    if (out->targets > 0) {
        measure_masks(t, out);
        out->grad_norm = beam_grad_norm(squares, t->shard.units);
        out->task_loss = t->sums[BEAM_SUM_LOSS] / (double)out->targets;
        out->divergence = t->sums[BEAM_SUM_DIVERGENCE] / (double)out->targets;
    }
    out->balance_loss = t->sums[BEAM_SUM_BALANCE];
    out->union_loss = t->sums[BEAM_SUM_UNIONS];
    out->loss = (1 - c->distill.weight) * out->task_loss + c->distill.weight * out->divergence +
                out->penalty * out->mask_loss + c->mask.union_penalty * out->union_loss +
                c->router_aux_loss_coef * out->balance_loss;
    out->skipped = out->targets == 0 || !isfinite(out->loss) || !isfinite(out->grad_norm);
    return BEAM_OK;
}

/* The controller's part of an update: what it remembers, and the offset of the gates in the last steps. */
static beam_status follow_target(beam_trainer *t, double active)
{
    const int64_t step = t->state.step + 1;
    beam_target_state s = target_state(t);
    beam_target_update(&t->target, &s, step, active);
    t->state.penalty = s.base;
    t->state.average_active = s.average_active;
    const float offset = (float)beam_target_offset(&t->target, &s, step);
    if (offset == 0)
        return BEAM_OK;
    BEAM_TRY(beam_tensor_set_f32(&t->backend, t->gate_offset, &offset));
    beam_model_shift_gates(t->model, t->gate_offset);
    return BEAM_OK;
}

static beam_status update(beam_trainer *t, const beam_step_result *r)
{
    const beam_config *c = t->config;
    const beam_adamw_args args = {
        .learning_rate = r->learning_rate,
        .beta1 = c->adam_beta1,
        .beta2 = c->adam_beta2,
        .epsilon = c->adam_epsilon,
        .weight_decay = c->weight_decay,
        .grad_scale = beam_clip_scale(r->grad_norm, c->max_grad_norm),
        /* Skipped steps updated no moments, so they do not count for the bias correction. */
        .step = t->state.step + 1 - t->state.skipped,
    };
    beam_adamw_step(&t->adamw, &t->backend, &args);
    beam_sum_gather(&t->sum, beam_model_values(t->model));
    beam_model_round(t->model);
    const bool controlled = beam_model_rule(t->model).masks && !isnan(c->mask.target_active);
    return controlled ? follow_target(t, r->avg_active) : BEAM_OK;
}

static beam_status count_skipped(beam_trainer *t, const beam_step_result *r)
{
    t->state.skipped += r->skipped;
    t->state.skipped_in_a_row = r->skipped && r->targets > 0 ? t->state.skipped_in_a_row + 1 : 0;
    if (t->state.skipped_in_a_row <= t->config->max_skipped_steps)
        return BEAM_OK;
    return BEAM_FAIL(
        BEAM_ENUMERIC,
        "step %lld: %lld steps in a row had a non-finite loss or gradient (loss %g, gradient norm %g). "
        "The last checkpoint is good. Lower learning_rate, or check the data and the base model",
        (long long)t->state.step, (long long)t->state.skipped_in_a_row, r->loss, r->grad_norm);
}

beam_status beam_trainer_step(beam_trainer *t, beam_step_result *out)
{
    const int64_t rows = beam_trainer_step_rows(t);
    *out = (beam_step_result){.penalty = penalty_now(t),
                              .learning_rate = beam_learning_rate(&t->schedule, t->state.step + 1)};
    const double began = beam_seconds();
    beam_loader_count(t->train, t->state.rows, rows, &out->targets, &out->tokens);
    t->data_seconds += beam_seconds() - began;
    set_form(t);
    memset(t->active, 0, (size_t)beam_moe_layers(beam_model_config_of(t->model)) * sizeof *t->active);
    memset(t->sums, 0, (size_t)(t->leaves.n + 1 + t->shard.units) * sizeof *t->sums);
    if (out->targets > 0)
        BEAM_TRY(accumulate(t, out));
    BEAM_TRY(measure(t, out));
    if (!out->skipped)
        BEAM_TRY(update(t, out));
    BEAM_TRY(t->backend.status); /* what the update may yet fail at shows where the host next waits */
    BEAM_TRY(t->comm->status);
    t->state.step++;
    t->state.rows += rows;
    t->state.tokens += out->targets;
    t->state.eval_loss = -1;
    return count_skipped(t, out);
}
