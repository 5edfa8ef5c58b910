#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "model/load.h"
#include "optim/clip.h"
#include "train/source.h"

static beam_status open_loader(const beam_config *c, const char *path, bool train, beam_loader **out)
{
    const beam_loader_options options = {
        .path = path,
        .sequence = c->cutoff_len,
        .rows = c->per_device_train_batch_size,
        .packing = c->packing,
        .shuffle = train,
        .seed = c->seed,
    };
    return beam_loader_open(&options, out);
}

static beam_status check_vocabulary(const beam_trainer *t, const beam_loader *l, const char *path)
{
    const int64_t vocab = beam_model_config_of(t->model)->vocab_size;
    if (beam_loader_vocab(l) > vocab)
        return BEAM_FAIL(
            BEAM_EDATA,
            "%s: holds token ids up to %lld, but the model's vocabulary has %lld: the file was made with "
            "another tokenizer",
            path, (long long)beam_loader_vocab(l) - 1, (long long)vocab);
    return BEAM_OK;
}

static beam_status open_data(beam_trainer *t)
{
    const beam_config *c = t->config;
    BEAM_TRY(open_loader(c, c->dataset, true, &t->train));
    if (c->eval_dataset[0])
        BEAM_TRY(open_loader(c, c->eval_dataset, false, &t->eval));
    return BEAM_OK;
}

/* What only model, data and configuration together can get wrong. */
static beam_status check_together(const beam_trainer *t)
{
    const beam_config *c = t->config;
    const beam_model_config *m = beam_model_config_of(t->model);
    BEAM_TRY(check_vocabulary(t, t->train, c->dataset));
    if (t->eval)
        BEAM_TRY(check_vocabulary(t, t->eval, c->eval_dataset));
    if (c->cutoff_len > m->max_positions)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "cutoff_len is %lld, but %s has max_position_embeddings %lld; lower cutoff_len",
                         (long long)c->cutoff_len, c->model_name_or_path, (long long)m->max_positions);
    if (c->mask.mode == BEAM_MASK_OFF && m->mask.present)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "mask.mode is off, but %s has mask gates; give the base model it was made from",
                         c->model_name_or_path);
    /* Only where both put the cut at u = 0 do the exported masks, without a temperature, keep what the last
     * steps kept. */
    if (m->mask.present && c->mask.temperature_end != 1 && m->mask.threshold != 0.5)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "mask.temperature_end is %g and the masks' threshold %g: evaluation and export know no "
            "temperature and would drop other experts than the last steps do; end at 1, or take "
            "mask.threshold: 0.5",
            c->mask.temperature_end, m->mask.threshold);
    if (c->mask.target_active > (double)m->top_k) /* false for NaN: no target */
        return BEAM_FAIL(BEAM_ECONFIG, "mask.target_active is %g, but %s runs only %lld experts per token",
                         c->mask.target_active, c->model_name_or_path, (long long)m->top_k);
    return BEAM_OK;
}

static beam_status open_model(beam_trainer *t)
{
    const beam_config *c = t->config;
    const beam_model_options options = beam_model_options_of(c);
    const beam_gate_request gates = beam_gate_request_of(c);
    BEAM_TRY(beam_model_source_open(c->model_name_or_path, &gates, &options, c->gradient_accumulation_steps,
                                    c->seed, &t->backend, &t->model));
    const beam_model_config *m = beam_model_config_of(t->model);
    t->stats = calloc((size_t)(beam_moe_layers(m) * (BEAM_STAT_EXPERTS + m->experts)) + 1, sizeof *t->stats);
    t->active = calloc((size_t)beam_moe_layers(m) + 1, sizeof *t->active);
    return t->stats && t->active ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for statistics");
}

static beam_status open_optimizer(beam_trainer *t)
{
    beam_backend *be = &t->backend;
    BEAM_TRY(beam_adamw_open(&t->adamw, beam_model_params(t->model), be));
    BEAM_TRY(
        beam_tree_open(&t->tree, beam_model_grads(t->model), t->config->gradient_accumulation_steps, be));
    t->norm_sum = beam_view(beam_alloc(be, sizeof(double), "gradient norm"), BEAM_F64, BEAM_DIMS(1));
    void *offset = beam_alloc(be, beam_dtype_size(be->wide), "offset of the mask logits");
    t->gate_offset = beam_view(offset, be->wide, BEAM_DIMS(1));
    return be->status;
}

static int64_t rows_per_step(const beam_trainer *t)
{
    return t->config->per_device_train_batch_size * t->config->gradient_accumulation_steps;
}

static void plan_steps(beam_trainer *t)
{
    const beam_config *c = t->config;
    const double rows = c->num_train_epochs * (double)beam_loader_rows(t->train);
    t->total_steps = c->max_steps ? c->max_steps : (int64_t)ceil(rows / (double)rows_per_step(t));
    static const beam_decay_kind decay[] = {[BEAM_LR_CONSTANT] = BEAM_DECAY_CONSTANT,
                                            [BEAM_LR_LINEAR] = BEAM_DECAY_LINEAR,
                                            [BEAM_LR_COSINE] = BEAM_DECAY_COSINE};
    t->schedule = (beam_schedule){
        .kind = decay[c->lr_scheduler_type],
        .peak = c->learning_rate,
        .min_ratio = c->min_lr_ratio,
        .warmup = c->warmup_steps ? c->warmup_steps : (int64_t)ceil(c->warmup_ratio * (double)t->total_steps),
        .total = t->total_steps,
    };
    t->target = (beam_target){.target = c->mask.target_active,
                              .rate = c->mask.target_rate,
                              .k = (double)beam_model_config_of(t->model)->top_k,
                              .warmup = c->mask.penalty_warmup_steps,
                              .total = t->total_steps};
}

beam_status beam_trainer_open(beam_trainer *t, const beam_config *c)
{
    *t = (beam_trainer){.config = c};
    BEAM_TRY(beam_open_backend(c->backend, c->bf16, c->threads, &t->backend));
    BEAM_TRY(open_data(t)); /* before the model: a wrong path shows at once */
    BEAM_TRY(open_model(t));
    BEAM_TRY(check_together(t));
    BEAM_TRY(open_optimizer(t));
    plan_steps(t);
    t->state = (beam_checkpoint_state){
        .average_active = -1,
        .best_loss = -1,
        .data_hash = beam_loader_hash(t->train),
        .config_hash = beam_config_hash(c),
    };
    memcpy(t->state.model, c->model_name_or_path, strnlen(c->model_name_or_path, sizeof t->state.model - 1));
    return beam_model_source_fingerprint(t->model, &t->state.model_hash);
}

void beam_trainer_close(beam_trainer *t)
{
    if (t->backend.ops) {
        beam_free(&t->backend, t->gate_offset.data);
        beam_free(&t->backend, t->norm_sum.data);
        beam_tree_close(&t->tree, &t->backend);
        beam_adamw_close(&t->adamw, &t->backend);
        beam_model_close(t->model);
        beam_backend_close(&t->backend);
    }
    beam_loader_close(t->train);
    beam_loader_close(t->eval);
    free(t->stats);
    free(t->active);
    *t = (beam_trainer){0};
}

int64_t beam_trainer_rows(const beam_trainer *t)
{
    return t->config->per_device_train_batch_size;
}

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

/* Sums over the step's micro-batches, as they enter the loss. */
typedef struct {
    double loss, divergence; /* over targets */
    double balance, unions;  /* means, weighted by each micro-batch's share of the tokens */
} step_sums;

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

/* Forward and backward of every micro-batch; the gradients of the whole step end up in the model. */
static beam_status accumulate(beam_trainer *t, double penalty, int64_t targets, int64_t tokens,
                              step_sums *sums)
{
    const beam_config *c = t->config;
    const double layers = (double)beam_moe_layers(beam_model_config_of(t->model));
    beam_model_zero_grads(t->model);
    for (int64_t i = 0; i < c->gradient_accumulation_steps; i++) {
        const beam_batch *batch;
        beam_forward_result result;
        const int64_t row = t->state.rows + i * c->per_device_train_batch_size;
        BEAM_TRY(beam_loader_read(t->train, row, -1, &batch));
        const double share = (double)batch->counted_total / (double)tokens;
        const int64_t group = union_group(c, batch);
        const double unions = share / (layers * (double)union_groups(batch, group));
        beam_model_forward(t->model, batch, 1.0 / (double)targets);
        const beam_backward_args args = {.masks = mask_terms(t, penalty, tokens, group, unions),
                                         .balance = c->router_aux_loss_coef * share};
        beam_model_backward(t->model, &args);
        BEAM_TRY(beam_model_result(t->model, &result));
        sums->loss += result.loss;
        sums->divergence += result.divergence;
        sums->balance += result.balance * share;
        sums->unions += result.unions * unions;
        beam_tree_push(&t->tree, &t->backend);
    }
    return BEAM_OK;
}

/* Mean kept experts and mean soft mask over layers, from the step's statistics. */
static beam_status measure_masks(beam_trainer *t, beam_step_result *out)
{
    const beam_model_config *m = beam_model_config_of(t->model);
    const int64_t layers = beam_moe_layers(m), columns = BEAM_STAT_EXPERTS + m->experts;
    BEAM_TRY(beam_model_take_stats(t->model, t->stats));
    for (int64_t i = 0; i < layers; i++) {
        const double *row = t->stats + i * columns;
        t->active[i] = row[BEAM_STAT_KEPT] / row[BEAM_STAT_TOKENS];
    }
    out->avg_active = beam_stats_mean(m, t->stats, BEAM_STAT_KEPT);
    out->mask_loss = beam_stats_mean(
        m, t->stats, t->config->mask.penalty_norm == BEAM_NORM_L2 ? BEAM_STAT_SQUARE : BEAM_STAT_SOFT);
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
    const beam_config *c = t->config;
    *out = (beam_step_result){.penalty = penalty_now(t),
                              .learning_rate = beam_learning_rate(&t->schedule, t->state.step + 1)};
    beam_loader_count(t->train, t->state.rows, rows_per_step(t), &out->targets, &out->tokens);
    step_sums sums = {0};
    set_form(t);
    memset(t->active, 0, (size_t)beam_moe_layers(beam_model_config_of(t->model)) * sizeof *t->active);
    if (out->targets > 0) {
        BEAM_TRY(accumulate(t, out->penalty, out->targets, out->tokens, &sums));
        BEAM_TRY(measure_masks(t, out));
        BEAM_TRY(beam_grad_norm(&t->backend, beam_model_grads(t->model), t->norm_sum, &out->grad_norm));
        out->task_loss = sums.loss / (double)out->targets;
        out->divergence = sums.divergence / (double)out->targets;
    }
    out->balance_loss = sums.balance;
    out->union_loss = sums.unions;
    out->loss = (1 - c->distill.weight) * out->task_loss + c->distill.weight * out->divergence +
                out->penalty * out->mask_loss + c->mask.union_penalty * out->union_loss +
                c->router_aux_loss_coef * out->balance_loss;
    out->skipped = out->targets == 0 || !isfinite(out->loss) || !isfinite(out->grad_norm);
    if (!out->skipped)
        BEAM_TRY(update(t, out));
    t->state.step++;
    t->state.rows += rows_per_step(t);
    t->state.tokens += out->targets;
    BEAM_TRY(count_skipped(t, out));
    return beam_sync(&t->backend);
}
