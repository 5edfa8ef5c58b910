/* Timing a mixture layer by itself. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/rng.h"
#include "model/load.h"
#include "model/moe.h"
#include "train/bench.h"
#include "train/flops.h"

typedef struct {
    beam_backend *be;
    beam_model_config config; /* of one layer */
    beam_model_weights weights;
    beam_pass pass;
    beam_moe_saved saved;
    beam_tensor x, y, dy, dx; /* [T,D] */
    beam_arena scratch;
    void *block, *scratch_block;
} bench;

static beam_model_config one_layer(const beam_model_config *c)
{
    beam_model_config one = *c;
    one.layers = 1;
    one.vocab_size = 1;
    one.moe_layer[0] = 1;
    return one;
}

static void lay_out(bench *b, int64_t tokens, beam_arena *a)
{
    const int64_t width = b->config.hidden_size;
    beam_tensor *const rows[] = {&b->x, &b->y, &b->dy, &b->dx};
    for (int i = 0; i < 4; i++)
        *rows[i] = beam_push(a, b->be->real, BEAM_DIMS(tokens, width));
    b->pass.counted = beam_push(a, BEAM_U8, BEAM_DIMS(tokens));
    beam_moe_layout(&b->saved, &b->config, b->be->real, tokens, a);
}

static void run_forward(bench *b)
{
    beam_zero(b->be, b->y);
    beam_moe_forward(&b->pass, &b->weights.layer[0].mlp, &b->saved, b->x, b->y, 0);
}

static void run_backward(bench *b)
{
    beam_moe_backward(&b->pass, &b->weights.layer[0].mlp, &b->saved, b->x, b->dy, b->dx);
}

/* Scratch of a pass: that of one on a backend that does nothing. */
static size_t measure_scratch(bench *b)
{
    beam_backend *const be = b->be;
    beam_backend idle = *be;
    idle.status = BEAM_EDEVICE;
    b->be = b->pass.be = &idle;
    b->scratch = (beam_arena){.base = b->x.data, .capacity = SIZE_MAX / 2};
    run_forward(b);
    run_backward(b);
    b->be = b->pass.be = be;
    return b->scratch.peak;
}

static beam_status place(bench *b, int64_t tokens)
{
    beam_arena a = beam_arena_measure();
    lay_out(b, tokens, &a);
    b->block = beam_alloc(b->be, a.peak, "a layer's activations");
    BEAM_TRY(b->be->status);
    a = beam_arena_over(b->block, a.peak);
    lay_out(b, tokens, &a);
    const size_t scratch = measure_scratch(b);
    b->scratch_block = beam_alloc(b->be, scratch, "a layer's scratch");
    BEAM_TRY(b->be->status);
    b->scratch = beam_arena_over(b->scratch_block, scratch);
    return BEAM_OK;
}

static beam_status count_all(const bench *b)
{
    const size_t n = beam_bytes(b->pass.counted);
    uint8_t *ones = malloc(n);
    if (!ones)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the tokens");
    memset(ones, 1, n);
    beam_upload(b->be, b->pass.counted, ones);
    free(ones);
    return b->be->status;
}

static beam_status fill_all(const bench *b, int active)
{
    const beam_params stored = b->weights.stored;
    for (int i = 0; i < stored.n; i++) {
        const beam_param *p = &stored.at[i];
        if (p->flags & BEAM_MASK_GATE)
            BEAM_TRY(beam_tensor_set_all(b->be, p->value, 0));
        else
            BEAM_TRY(beam_tensor_set_normal(b->be, p->value, 1, beam_hash_string(p->name), 0,
                                            b->config.initializer_range));
    }
    beam_model_weights_round(&b->weights, b->be);
    BEAM_TRY(beam_bench_set_gates(b->be, b->weights.layer[0].mlp.mask.rank_bias, active));
    BEAM_TRY(beam_tensor_set_normal(b->be, b->x, 1, beam_hash_string("x"), 0, 1));
    BEAM_TRY(beam_tensor_set_normal(b->be, b->dy, 1, beam_hash_string("dy"), 0, 1));
    return count_all(b);
}

/* Whether the gates keep what was asked for: else a row of the table would be about something else. */
static beam_status check_active(const bench *b, int64_t tokens, int active)
{
    int32_t *kept = malloc(beam_bytes(b->saved.route.kept));
    int64_t pairs = 0;
    if (!kept)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for counts of pairs");
    beam_download(b->be, kept, b->saved.route.kept);
    for (int64_t e = 0; e < b->config.experts; e++)
        pairs += kept[e];
    free(kept);
    BEAM_TRY(b->be->status);
    BEAM_ASSERT(pairs == tokens * active);
    return BEAM_OK;
}

static beam_status time_passes(bench *b, const beam_bench_options *o, beam_bench_result *out)
{
    double forward[BEAM_BENCH_MOST_STEPS], backward[BEAM_BENCH_MOST_STEPS];
    for (int i = -1; i < o->steps; i++) {
        const double start = beam_seconds();
        run_forward(b);
        BEAM_TRY(beam_sync(b->be));
        const double between = beam_seconds();
        run_backward(b);
        BEAM_TRY(beam_sync(b->be));
        if (i < 0)
            continue;
        forward[i] = between - start;
        backward[i] = beam_seconds() - between;
    }
    const int64_t tokens = o->rows * o->sequence;
    BEAM_TRY(check_active(b, tokens, o->active));
    const beam_flops f = beam_flops_of_mixture(&b->config, o->scope, o->active);
    out->forward = beam_bench_median(forward, o->steps);
    out->backward = beam_bench_median(backward, o->steps);
    out->tokens_per_s = (double)tokens / (out->forward + out->backward);
    out->flops_per_s = out->tokens_per_s * (f.forward + f.backward);
    return BEAM_OK;
}

beam_status beam_bench_layer(const beam_bench_options *o, beam_backend *be, beam_bench_result *out)
{
    BEAM_ASSERT(o->steps >= 1 && o->steps <= BEAM_BENCH_MOST_STEPS && o->scope != BEAM_SCOPE_NONE);
    bench b = {.be = be, .config = one_layer(o->config)};
    const double threshold = b.config.mask.threshold;
    b.pass = (beam_pass){
        .be = be,
        .config = &b.config,
        .rule = {.masks = true, .cutoff = log(threshold / (1 - threshold)), .temperature = 1},
        .scratch = &b.scratch,
        .terms.penalty = 1e-6,
    };
    *out = (beam_bench_result){0};
    BEAM_TRY(beam_model_weights_alloc(&b.weights, &b.config, o->scope, be));
    beam_status status = place(&b, o->rows * o->sequence);
    if (!status)
        status = fill_all(&b, o->active);
    if (!status)
        status = time_passes(&b, o, out);
    beam_free(be, b.scratch_block);
    beam_free(be, b.block);
    beam_model_weights_free(&b.weights, be);
    return status;
}
