#include "serve/decode_bench.h"

#include <stdlib.h>

#include "core/clock.h"
#include "core/rng.h"
#include "kernels/decode/ops.h"

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
    enum { ROW = 1 << 16 };
    const beam_tensor x = beam_view(w->params.at[0].value.data, BEAM_F32, BEAM_DIMS(readable(w) / ROW, ROW));
    beam_tensor sum = beam_view(NULL, BEAM_F32, BEAM_DIMS(x.dim[0]));
    sum.data = beam_alloc(be, beam_bytes(sum), "measuring the memory");
    const double end = beam_seconds() + 0.5;
    double best = 0;
    for (int i = 0; !be->status && (i < 2 || beam_seconds() < end); i++) {
        const double begin = beam_seconds();
        beam_read_rows(be, sum, x);
        beam_sync(be);
        const double speed = (double)beam_bytes(x) / (beam_seconds() - begin);
        best = speed > best ? speed : best;
    }
    beam_free(be, sum.data);
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

static beam_status timed_step(const beam_decode_bench_options *o, beam_decoder *d, int step,
                              beam_decoder_token *token, samples *s)
{
    for (int64_t i = 0; i < o->batch; i++)
        token[i] = (beam_decoder_token){.id = (int32_t)(beam_random_bits(2, (uint64_t)i, (uint64_t)step) %
                                                        (uint64_t)o->config->vocab_size),
                                        .sequence = (int32_t)i,
                                        .position = (int32_t)(o->context + step),
                                        .wants_logits = true};
    beam_decoder_take_costs(d);
    BEAM_TRY(beam_decoder_step(d, token, o->batch));
    const beam_decoder_costs c = beam_decoder_take_costs(d);
    if (step < BEAM_BENCH_WARM_UP)
        return BEAM_OK;
    s->seconds[step - BEAM_BENCH_WARM_UP] = c.seconds;
    s->moe_seconds[step - BEAM_BENCH_WARM_UP] = c.moe_seconds;
    s->bytes += c.bytes;
    s->moe_bytes += c.moe_bytes;
    s->kept += (double)c.kept;
    s->distinct += (double)c.distinct;
    return BEAM_OK;
}

/* Rules take turns, so that what disturbs the machine for a while disturbs all of them; but where launches
 * are recorded, which a new rule undoes, one comes after the other. */
static beam_status timed_steps(const beam_decode_bench_options *o, beam_decoder *d, bool one_by_one,
                               beam_decoder_token *token, samples *s)
{
    const int steps = o->steps + BEAM_BENCH_WARM_UP;
    for (int i = 0, last = -1; i < steps * o->rules; i++) {
        const int rule = one_by_one ? i / steps : i % o->rules, step = one_by_one ? i % steps : i / o->rules;
        if (rule != last)
            beam_decoder_set_rule(d, o->rule[rule]);
        last = rule;
        BEAM_TRY(timed_step(o, d, step, token, &s[rule]));
    }
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
    const beam_decoder_options options = {.sequences = o->batch,
                                          .context = o->context + o->steps + BEAM_BENCH_WARM_UP,
                                          .chunk = o->batch,
                                          .logits = o->batch};
    beam_decoder *d = NULL;
    samples *s = calloc((size_t)o->rules, sizeof *s);
    beam_decoder_token *token = calloc((size_t)o->batch, sizeof *token);
    beam_status status = s && token ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for timing");
    if (!status)
        status = beam_decoder_open(&d, o->config, o->weights, o->rule[0], &options, be);
    if (!status)
        beam_decoder_blank(d);
    if (!status)
        status = timed_steps(o, d, beam_decodes_on_gpu(be), token, s);
    for (int rule = 0; !status && rule < o->rules; rule++)
        out[rule] = result_of(o, &s[rule]);
    beam_decoder_close(d);
    free(token);
    free(s);
    return status;
}
