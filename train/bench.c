#include "train/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/rng.h"
#include "model/load.h"
#include "optim/adamw.h"
#include "train/flops.h"

beam_status beam_bench_gemm(beam_backend *be, double *flops)
{
    const int64_t n = be->device_memory ? 8192 : 1536; /* enough work for all processors */
    beam_arena arena = beam_arena_measure();
    for (int i = 0; i < 3; i++)
        beam_push(&arena, be->real, BEAM_DIMS(n, n));
    void *block = beam_alloc(be, arena.peak, "measuring matrix products");
    BEAM_TRY(be->status);
    arena = beam_arena_over(block, arena.peak);
    const beam_tensor a = beam_push(&arena, be->real, BEAM_DIMS(n, n));
    const beam_tensor b = beam_push(&arena, be->real, BEAM_DIMS(n, n));
    const beam_tensor c = beam_push(&arena, be->real, BEAM_DIMS(n, n));
    beam_zero(be, a);
    beam_zero(be, b);
    beam_gemm(be, c, a, false, b, true, 1, 0);
    *flops = 0;
    beam_sync(be);
    const double end = beam_seconds() + 0.5;
    for (double start = beam_seconds(); start < end; start = beam_seconds()) {
        beam_gemm(be, c, a, false, b, true, 1, 0);
        if (beam_sync(be) != BEAM_OK)
            break;
        const double speed = 2 * pow((double)n, 3) / (beam_seconds() - start);
        *flops = speed > *flops ? speed : *flops;
    }
    beam_free(be, block);
    return be->status;
}

static beam_status random_batch(const beam_bench_options *o, beam_batch *b)
{
    const int64_t n = o->rows * o->sequence;
    BEAM_TRY(beam_batch_alloc(b, n));
    b->sequences = (int)o->rows;
    b->targets = b->counted_total = n;
    for (int64_t i = 0; i < n; i++) {
        b->id[i] = (int32_t)(beam_random_bits(1, 0, (uint64_t)i) % (uint64_t)o->config->vocab_size);
        b->target[i] = (int32_t)(beam_random_bits(1, 1, (uint64_t)i) % (uint64_t)o->config->vocab_size);
        b->position[i] = (int32_t)(i % o->sequence);
        b->counted[i] = 1;
    }
    for (int64_t i = 0; i <= o->rows; i++)
        b->first[i] = (int32_t)(i * o->sequence);
    return BEAM_OK;
}

beam_status beam_bench_set_gates(beam_backend *be, const beam_param *rank_bias, int active)
{
    const int64_t k = rank_bias->value.dim[0];
    float *ranks = malloc((size_t)k * sizeof *ranks);
    if (!ranks)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the gates");
    for (int64_t i = 0; i < k; i++)
        ranks[i] = i < active ? 4.0f : -4.0f;
    const beam_status status = beam_tensor_set_f32(be, rank_bias->value, ranks);
    free(ranks);
    return status;
}

static beam_status set_gates(beam_model *m, int active)
{
    const beam_params params = beam_model_params(m);
    BEAM_TRY(beam_model_init_gates(m, BEAM_GATES_ZERO, 0));
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, "mask_gate.rank_bias"))
            BEAM_TRY(beam_bench_set_gates(beam_model_backend(m), &params.at[i], active));
    return BEAM_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double beam_bench_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

/* One step; its three parts' times into t[3]. */
static beam_status timed_step(beam_model *m, beam_adamw_state *adamw, const beam_batch *batch, int64_t step,
                              double t[3], double *loss)
{
    beam_backend *be = beam_model_backend(m);
    /* A rate of zero does the update's work without moving the masks away from what is to be measured. */
    const beam_adamw_args args = {
        .learning_rate = 0, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .grad_scale = 1, .step = step};
    beam_forward_result r;
    const double start = beam_seconds();
    beam_model_zero_grads(m);
    beam_model_forward(m, batch, 1.0 / (double)batch->targets);
    BEAM_TRY(beam_model_result(m, &r));
    const double forward = beam_seconds();
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = 1e-6});
    BEAM_TRY(beam_sync(be));
    const double backward = beam_seconds();
    beam_adamw_step(adamw, be, &args);
    beam_model_round(m);
    BEAM_TRY(beam_sync(be));
    t[0] = forward - start;
    t[1] = backward - forward;
    t[2] = beam_seconds() - backward;
    *loss = r.loss / (double)r.targets;
    return BEAM_OK;
}

static beam_status time_steps(const beam_bench_options *o, beam_model *m, beam_adamw_state *adamw,
                              const beam_batch *batch, beam_bench_result *out)
{
    enum { MOST = BEAM_BENCH_MOST_STEPS };
    double forward[MOST], backward[MOST], update[MOST], t[3];
    BEAM_ASSERT(o->steps >= 1 && o->steps <= MOST);
    for (int i = -1; i < o->steps; i++) {
        BEAM_TRY(timed_step(m, adamw, batch, i + 2, t, &out->loss));
        if (i < 0)
            continue;
        forward[i] = t[0];
        backward[i] = t[1];
        update[i] = t[2];
    }
    out->forward = beam_bench_median(forward, o->steps);
    out->backward = beam_bench_median(backward, o->steps);
    out->update = beam_bench_median(update, o->steps);
    const double seconds = out->forward + out->backward + out->update;
    const beam_flops f = beam_flops_of(o->config, o->scope, (double)o->sequence, o->active);
    out->tokens_per_s = (double)batch->tokens / seconds;
    out->flops_per_s = (double)batch->tokens * (f.forward + f.backward) / seconds;
    return BEAM_OK;
}

beam_status beam_bench_train(const beam_bench_options *o, beam_backend *be, beam_bench_result *out)
{
    beam_model *m = NULL;
    beam_adamw_state adamw = {0};
    beam_batch batch = {0};
    const beam_model_options options = {
        .scope = o->scope, .max_tokens = o->rows * o->sequence, .checkpointing = o->checkpointing};
    *out = (beam_bench_result){0};
    beam_status status = beam_model_open(&m, o->config, &options, be);
    if (!status)
        status = beam_model_init_base(m, 1);
    if (!status)
        status = set_gates(m, o->active);
    if (!status)
        status = beam_adamw_open_whole(&adamw, beam_model_params(m), beam_model_grads(m), be);
    if (!status)
        status = random_batch(o, &batch);
    if (!status)
        status = time_steps(o, m, &adamw, &batch, out);
    beam_batch_free(&batch);
    beam_adamw_close(&adamw, be);
    beam_model_close(m);
    return status;
}
