#include "serve/decode_bench.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/rng.h"
#include "kernels/decode/lanes.h"

/* Reads n floats' worth of memory; the sum keeps the compiler from leaving it out. */
static float read_block(const float *x, int64_t n)
{
    enum { STREAMS = 4 };
    beam_lanes sum[STREAMS];
    for (int i = 0; i < STREAMS; i++)
        sum[i] = beam_lanes_zero();
    for (int64_t at = 0; at + STREAMS * BEAM_LANES <= n; at += STREAMS * BEAM_LANES)
        for (int i = 0; i < STREAMS; i++) {
            const beam_lanes v = beam_lanes_f32(x + at + i * BEAM_LANES);
            sum[i] = beam_lanes_fma(v, v, sum[i]);
        }
    float total = 0;
    for (int i = 0; i < STREAMS; i++)
        total += beam_lanes_sum(sum[i]);
    return total;
}

/* The first GB of the list's memory: its parameters stand one after the other in one block. */
static int64_t readable(const beam_model_weights *w)
{
    const int64_t most = 1 << 28;
    int64_t n = 0;
    for (int i = 0; i < w->params.n; i++)
        n += (int64_t)(beam_bytes(w->params.at[i].value) / sizeof(float));
    return n < most ? n : most;
}

double beam_bench_read(const beam_model_weights *w, beam_backend *be)
{
    enum { BLOCK = 1 << 16 };
    const int64_t n = readable(w), blocks = n / BLOCK;
    const float *x = w->params.at[0].value.data;
    const double end = beam_seconds() + 0.5;
    double best = 0;
    volatile float sink = 0;
    for (int i = 0; i < 2 || beam_seconds() < end; i++) {
        const double begin = beam_seconds();
        float sum = 0;
#pragma omp parallel for num_threads(be->threads) schedule(static) reduction(+ : sum)
        for (int64_t b = 0; b < blocks; b++)
            sum += read_block(x + b * BLOCK, BLOCK);
        sink = sink + sum;
        const double speed = (double)(blocks * BLOCK) * sizeof(float) / (beam_seconds() - begin);
        best = speed > best ? speed : best;
    }
    return best;
}

typedef struct {
    double seconds[BEAM_BENCH_MOST_STEPS], moe_seconds[BEAM_BENCH_MOST_STEPS];
    double bytes, moe_bytes, kept, distinct; /* sums */
} samples;

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

static beam_status timed_step(const beam_decode_bench_options *o, beam_decoder *d, int step, int rule,
                              beam_decoder_token *token, samples *s)
{
    for (int64_t i = 0; i < o->batch; i++)
        token[i] = (beam_decoder_token){.id = (int32_t)(beam_random_bits(2, (uint64_t)i, (uint64_t)step) %
                                                        (uint64_t)o->config->vocab_size),
                                        .sequence = (int32_t)i,
                                        .position = (int32_t)(o->context + step),
                                        .wants_logits = true};
    beam_decoder_set_rule(d, o->rule[rule]);
    beam_decoder_take_costs(d);
    BEAM_TRY(beam_decoder_step(d, token, o->batch));
    const beam_decoder_costs c = beam_decoder_take_costs(d);
    if (step == 0)
        return BEAM_OK;
    s->seconds[step - 1] = c.seconds;
    s->moe_seconds[step - 1] = c.moe_seconds;
    s->bytes += c.bytes;
    s->moe_bytes += c.moe_bytes;
    s->kept += (double)c.kept;
    s->distinct += (double)c.distinct;
    return BEAM_OK;
}

static beam_decode_bench_result result_of(const beam_decode_bench_options *o, samples *s)
{
    const double n = o->steps, layers = (double)beam_moe_layers(o->config);
    beam_decode_bench_result r = {.seconds = median(s->seconds, o->steps),
                                  .moe_seconds = median(s->moe_seconds, o->steps),
                                  .active = s->kept / (n * layers * (double)o->batch),
                                  .distinct = s->distinct / (n * layers)};
    r.bytes_per_s = s->bytes / n / r.seconds;
    r.moe_bytes_per_s = s->moe_bytes / n / r.moe_seconds;
    return r;
}

beam_status beam_decode_bench(const beam_decode_bench_options *o, beam_backend *be,
                              beam_decode_bench_result *out)
{
    BEAM_ASSERT(o->steps >= 1 && o->steps <= BEAM_BENCH_MOST_STEPS && o->rules >= 1);
    const beam_decoder_options options = {
        .sequences = o->batch, .context = o->context + o->steps + 1, .chunk = o->batch, .logits = o->batch};
    beam_decoder *d = NULL;
    samples *s = calloc((size_t)o->rules, sizeof *s);
    beam_decoder_token *token = calloc((size_t)o->batch, sizeof *token);
    beam_status status = s && token ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for timing");
    if (!status)
        status = beam_decoder_open(&d, o->config, o->weights, o->rule[0], &options, be);
    if (!status)
        beam_decoder_blank(d);
    for (int step = 0; !status && step <= o->steps; step++)
        for (int rule = 0; !status && rule < o->rules; rule++)
            status = timed_step(o, d, step, rule, token, &s[rule]);
    for (int rule = 0; !status && rule < o->rules; rule++)
        out[rule] = result_of(o, &s[rule]);
    beam_decoder_close(d);
    free(token);
    free(s);
    return status;
}
