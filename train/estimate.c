#include "train/estimate.h"

#include <math.h>
#include <stdio.h>

#include "data/safetensors.h"
#include "train/bench.h"
#include "train/flops.h"
#include "train/source.h"

static beam_status check_tokens(const beam_config *c)
{
    if (c->per_device_train_batch_size <= INT32_MAX / c->cutoff_len)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG, "%lld rows of %lld tokens: a micro-batch may have up to 2^31 - 1 tokens",
                     (long long)c->per_device_train_batch_size, (long long)c->cutoff_len);
}

static beam_place place_of(const beam_config *c)
{
    const bool device = beam_uses_device(c->backend, 1);
    return (beam_place){.real = device && c->bf16 == BEAM_BF16_ON ? BEAM_BF16 : BEAM_F32, .device = device};
}

/* Of the rank with the largest share, which is the last one. */
static beam_status measure_train(const beam_config *c, const beam_model_config *model, int ranks,
                                 beam_memory_need *out)
{
    beam_comm job = {.rank = ranks - 1, .size = ranks, .local_size = 1};
    const beam_training training = {.accumulation = c->gradient_accumulation_steps, .comm = &job};
    beam_model_options options = beam_model_options_of(c);
    options.expert_ranks = (int)c->expert_parallel;
    options.comm = &job;
    return beam_memory_measure(out, model, &options, &training, place_of(c));
}

/* Bytes of the tensors of a model folder; as bfloat16, like most published models, if they are not there. */
static uint64_t base_bytes(const char *folder, const beam_parameter_count *count)
{
    beam_weights *w;
    if (beam_weights_open(folder, &w) != BEAM_OK)
        return 2 * (uint64_t)count->total;
    uint64_t bytes = 0;
    for (int64_t i = 0; i < beam_weights_count(w); i++)
        bytes += beam_weights_at(w, i)->bytes;
    beam_weights_close(w);
    return bytes;
}

static uint64_t export_bytes(const beam_config *c, const beam_parameter_count *count)
{
    const uint64_t gates = 4 * (uint64_t)count->gates;
    if (c->trainable == BEAM_TRAIN_ALL || beam_model_source_random(c->model_name_or_path))
        return 4 * (uint64_t)count->total + gates;
    return base_bytes(c->model_name_or_path, count) + gates;
}

/* Of one token of a step, the teacher's pass included. */
static double token_flops(const beam_config *c, const beam_model_config *model, double active)
{
    const double sequence = (double)c->cutoff_len, k = (double)model->top_k;
    const beam_flops f = beam_flops_of(model, beam_model_options_of(c).scope, sequence, active);
    beam_model_config teacher = *model;
    teacher.mask.present = false;
    return f.forward + f.backward +
           (c->distill.weight > 0 ? beam_flops_of(&teacher, BEAM_SCOPE_NONE, sequence, k).forward : 0);
}

beam_status beam_estimate_make(const beam_config *c, int ranks, beam_estimate *out)
{
    const beam_gate_request gates = beam_gate_request_of(c);
    const beam_model_options eval = {.scope = BEAM_SCOPE_NONE,
                                     .max_tokens = c->per_device_train_batch_size * c->cutoff_len};
    *out = (beam_estimate){0};
    BEAM_TRY(check_tokens(c));
    out->place = place_of(c);
    BEAM_TRY(beam_model_source_config(c->model_name_or_path, &gates, &out->model));
    BEAM_TRY(beam_model_count(&out->count, &out->model));
    BEAM_TRY(measure_train(c, &out->model, ranks, &out->train));
    BEAM_TRY(beam_memory_measure(&out->eval, &out->model, &eval, NULL, place_of(c)));
    out->checkpoint = out->train.saving / 2;
    out->checkpoints = c->save_total_limit + 1;
    out->export = export_bytes(c, &out->count);
    const double k = (double)out->model.top_k;
    const bool hard = c->mask.form == BEAM_FORM_HARD;                            /* soft masks drop nothing */
    out->active = hard && c->mask.target_active < k ? c->mask.target_active : k; /* NaN: no target */
    const int64_t rows = c->per_device_train_batch_size * c->gradient_accumulation_steps * ranks;
    out->step_flops = (double)(rows * c->cutoff_len) * token_flops(c, &out->model, out->active);
    return BEAM_OK;
}

beam_status beam_estimate_measure(const beam_config *c, const beam_estimate *e, double *step_seconds)
{
    beam_backend be;
    beam_bench_result speed;
    beam_model_config shape = e->model;
    shape.null_experts = 0;
    shape.mask = (beam_mask_config){.present = true, .threshold = 0.5, .bias = true, .router_features = true};
    const beam_bench_options options = {.config = &shape,
                                        .scope = beam_model_options_of(c).scope,
                                        .rows = c->per_device_train_batch_size,
                                        .sequence = c->cutoff_len,
                                        .active = (int)ceil(e->active),
                                        .steps = 3,
                                        .checkpointing = c->gradient_checkpointing};
    BEAM_TRY(beam_open_backend(c->backend, c->bf16, NULL, c->threads, &be));
    const beam_status status = beam_bench_train(&options, &be, &speed);
    beam_backend_close(&be);
    if (!status)
        *step_seconds = e->step_flops / speed.flops_per_s;
    return status;
}

/* The changes that may be advised, those first that leave the result nearly or wholly as it is. */
enum { RECOMPUTE = 1, FEWER_ROWS = 2, MASKS = 4, SHORTER_ROWS = 8, CHANGES = 16 };

enum {
    SHORTEST = 128,        /* tokens of a row that are still advised */
    MOST_PASSES = 1 << 20, /* of gradient_accumulation_steps */
};

static bool applies(const beam_config *c, unsigned change)
{
    const int64_t rows = c->per_device_train_batch_size;
    return !((change & RECOMPUTE && c->gradient_checkpointing) ||
             (change & FEWER_ROWS && (rows == 1 || rows > MOST_PASSES / c->gradient_accumulation_steps)) ||
             (change & MASKS && (c->trainable == BEAM_TRAIN_MASKS || c->mask.mode == BEAM_MASK_OFF)) ||
             (change & SHORTER_ROWS && c->cutoff_len < 2 * SHORTEST));
}

/* The next smaller micro-batch that divides the rows of a step. */
static void take_fewer_rows(beam_config *c)
{
    const int64_t rows = c->per_device_train_batch_size;
    int64_t fewer = rows - 1;
    while (rows % fewer)
        fewer--;
    c->per_device_train_batch_size = fewer;
    c->gradient_accumulation_steps *= rows / fewer;
}

/* Goes as far with the changes as is needed; *total is 0 if that is not enough. */
static beam_status try_changes(beam_config *c, const beam_model_config *model, int ranks, unsigned change,
                               int64_t memory, size_t *total)
{
    beam_memory_need need;
    if (change & RECOMPUTE)
        c->gradient_checkpointing = true;
    if (change & MASKS)
        c->trainable = BEAM_TRAIN_MASKS;
    for (;;) {
        BEAM_TRY(measure_train(c, model, ranks, &need));
        *total = (int64_t)need.total <= memory ? need.total : 0;
        if (*total)
            return BEAM_OK;
        if (change & FEWER_ROWS && c->per_device_train_batch_size > 1)
            take_fewer_rows(c);
        else if (change & SHORTER_ROWS && c->cutoff_len >= 2 * SHORTEST)
            c->cutoff_len /= 2;
        else
            return BEAM_OK;
    }
}

static void describe(const beam_config *c, unsigned change, beam_advice *out)
{
    char rows[96] = "", shorter[32] = "";
    const char *masks = c->base_lr_ratio == 1 ? "trainable=masks " : "trainable=masks base_lr_ratio=null ";
    if (change & FEWER_ROWS)
        snprintf(rows, sizeof rows, "per_device_train_batch_size=%d gradient_accumulation_steps=%d ",
                 (int)c->per_device_train_batch_size, (int)c->gradient_accumulation_steps);
    if (change & SHORTER_ROWS)
        snprintf(shorter, sizeof shorter, "cutoff_len=%d ", (int)c->cutoff_len);
    const int n = snprintf(out->keys, sizeof out->keys, "%s%s%s%s", change & MASKS ? masks : "",
                           change & RECOMPUTE ? "gradient_checkpointing=true " : "", rows, shorter);
    out->keys[n - 1] = '\0'; /* the last space */
}

beam_status beam_estimate_advise(const beam_config *c, int ranks, int64_t memory,
                                 beam_advice out[BEAM_ADVICE], int *n)
{
    const beam_gate_request gates = beam_gate_request_of(c);
    unsigned found[BEAM_ADVICE];
    beam_model_config model;
    *n = 0;
    BEAM_TRY(beam_model_source_config(c->model_name_or_path, &gates, &model));
    for (unsigned change = 1; change < CHANGES && *n < BEAM_ADVICE; change++) {
        beam_config changed = *c;
        bool possible = applies(c, change);
        for (int i = 0; i < *n; i++)
            possible = possible && (change & found[i]) != found[i];
        if (!possible)
            continue;
        BEAM_TRY(try_changes(&changed, &model, ranks, change, memory, &out[*n].total));
        if (!out[*n].total)
            continue;
        describe(&changed, change, &out[*n]);
        found[(*n)++] = change;
    }
    return BEAM_OK;
}
