#include "serve/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/rng.h"

struct beam_sampler_choice {
    double weight; /* exp((logit - largest) / temperature) */
    int32_t id;
};

beam_status beam_sampler_open(beam_sampler *s, beam_sampling sampling, int64_t vocab)
{
    *s = (beam_sampler){.sampling = sampling, .vocab = vocab};
    if (sampling.temperature == 0)
        return BEAM_OK;
    s->choice = malloc((size_t)vocab * sizeof *s->choice);
    return s->choice ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld logits", (long long)vocab);
}

void beam_sampler_close(beam_sampler *s)
{
    free(s->choice);
    *s = (beam_sampler){0};
}

/* NaN and infinities are found on the way. */
static bool find_largest(const float *logits, int64_t n, int32_t *out)
{
    bool finite = true;
    int32_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        finite = finite && isfinite(logits[i]);
        if (logits[i] > logits[best])
            best = (int32_t)i;
    }
    *out = best;
    return finite;
}

/* Heavier first; of equal ones the lower id. */
static int by_weight(const void *a, const void *b)
{
    const beam_sampler_choice *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight < y->weight ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* How many of the sorted choices have together the share `top_p` of `sum`; *part becomes their sum. */
static int64_t cut_tail(const beam_sampler_choice *choice, int64_t n, double sum, double top_p, double *part)
{
    *part = 0;
    for (int64_t i = 0; i < n; i++) {
        *part += choice[i].weight;
        if (*part >= top_p * sum)
            return i + 1;
    }
    return n;
}

beam_status beam_sampler_take(beam_sampler *s, const float *logits, uint64_t stream, uint64_t index,
                              int32_t *out)
{
    const beam_sampling *how = &s->sampling;
    if (!find_largest(logits, s->vocab, out))
        return BEAM_FAIL(BEAM_ENUMERIC, "a logit is not finite: the model's numbers overflowed");
    if (how->temperature == 0)
        return BEAM_OK;
    const double top = (double)logits[*out];
    double sum = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        s->choice[i] = (beam_sampler_choice){.weight = exp(((double)logits[i] - top) / how->temperature),
                                             .id = (int32_t)i};
        sum += s->choice[i].weight;
    }
    int64_t n = s->vocab;
    if (how->top_p < 1) {
        qsort(s->choice, (size_t)n, sizeof *s->choice, by_weight);
        n = cut_tail(s->choice, n, sum, how->top_p, &sum);
    }
    double left = beam_random_uniform(how->seed, stream, index) * sum;
    int64_t i = 0;
    while (i + 1 < n && !(left < s->choice[i].weight))
        left -= s->choice[i++].weight;
    *out = s->choice[i].id;
    return BEAM_OK;
}
