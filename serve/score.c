#include "serve/score.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    beam_score_result *out;
    beam_backend *be;
    int32_t *expert; /* host copies of a layer's route [n,K] */
    uint8_t *keep;
    float *logit;
} recorder;

static void record(void *context, const beam_moe_seen *seen)
{
    recorder *r = context;
    beam_score_result *s = r->out;
    const beam_route *route = seen->route;
    const int layer = seen->layer;
    beam_download(r->be, r->expert, beam_rows(route->expert, 0, s->n));
    beam_download(r->be, r->keep, beam_rows(route->keep, 0, s->n));
    beam_download(r->be, r->logit, beam_rows(route->logit, 0, s->n));
    for (int64_t t = 0; t < s->n; t++) {
        int32_t *ids = s->expert + (t * s->layers + layer) * s->top_k;
        memcpy(s->logit + (t * s->layers + layer) * s->top_k, r->logit + t * s->top_k,
               (size_t)s->top_k * sizeof *s->logit);
        int32_t kept = 0;
        for (int64_t k = 0; k < s->top_k; k++)
            if (r->keep[t * s->top_k + k])
                ids[kept++] = r->expert[t * s->top_k + k];
        s->kept[t * s->layers + layer] = kept;
        for (int64_t k = kept; k < s->top_k; k++)
            ids[k] = -1;
    }
}

/* The sequence as a batch of one. */
static beam_status make_batch(const int32_t *ids, int64_t n, beam_batch *b)
{
    BEAM_TRY(beam_batch_alloc(b, n));
    b->counted_total = n;
    b->targets = n - 1;
    b->sequences = 1;
    for (int64_t i = 0; i < n; i++) {
        b->id[i] = ids[i];
        b->target[i] = i + 1 < n ? ids[i + 1] : -1;
        b->position[i] = (int32_t)i;
        b->counted[i] = 1;
    }
    b->first[0] = 0;
    b->first[1] = (int32_t)n;
    return BEAM_OK;
}

static beam_status allocate(recorder *r, beam_score_result *out)
{
    const size_t n = (size_t)out->n, slots = n * (size_t)(out->layers * out->top_k);
    out->logprob = malloc(n * sizeof *out->logprob);
    out->kept = malloc((n * (size_t)out->layers + 1) * sizeof *out->kept);
    out->expert = malloc((slots + 1) * sizeof *out->expert);
    out->logit = malloc((slots + 1) * sizeof *out->logit);
    r->expert = malloc(n * (size_t)out->top_k * sizeof *r->expert);
    r->keep = malloc(n * (size_t)out->top_k);
    r->logit = malloc(n * (size_t)out->top_k * sizeof *r->logit);
    return out->logprob && out->kept && out->expert && out->logit && r->expert && r->keep && r->logit
               ? BEAM_OK
               : BEAM_FAIL(BEAM_ENOMEM, "no memory to score %zu tokens", n);
}

/* The largest of logits [V]. */
static void take_best(const float *logit, int64_t vocab, int64_t best, int32_t *id, float *value)
{
    int64_t n = 0;
    for (int64_t v = 0; v < vocab; v++) {
        if (n == best && !(logit[v] > value[n - 1]))
            continue;
        int64_t at = n < best ? n++ : n - 1;
        for (; at > 0 && logit[v] > value[at - 1]; at--) {
            value[at] = value[at - 1];
            id[at] = id[at - 1];
        }
        value[at] = logit[v];
        id[at] = (int32_t)v;
    }
}

static beam_status read_best(beam_model *m, beam_score_result *s)
{
    const int64_t vocab = beam_model_config_of(m)->vocab_size;
    if (s->best == 0)
        return BEAM_OK;
    s->best_id = malloc((size_t)(s->n * s->best) * sizeof *s->best_id);
    s->best_logit = malloc((size_t)(s->n * s->best) * sizeof *s->best_logit);
    float *row = malloc((size_t)vocab * sizeof *row);
    beam_status status =
        s->best_id && s->best_logit && row
            ? BEAM_OK
            : BEAM_FAIL(BEAM_ENOMEM, "no memory for the logits of %lld tokens", (long long)s->n);
    for (int64_t i = 0; !status && i < s->n; i++) {
        status = beam_model_logits(m, i, 1, row);
        if (!status)
            take_best(row, vocab, s->best, s->best_id + i * s->best, s->best_logit + i * s->best);
    }
    free(row);
    return status;
}

beam_status beam_score(beam_model *m, const int32_t *ids, int64_t n, int64_t best, beam_score_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    *out = (beam_score_result){.n = n, .layers = beam_moe_layers(c), .top_k = c->top_k, .best = best};
    recorder r = {.out = out, .be = beam_model_backend(m)};
    beam_batch batch = {0};
    beam_status status = allocate(&r, out);
    if (!status)
        status = make_batch(ids, n, &batch);
    if (!status) {
        beam_model_observe(m, record, &r);
        beam_model_forward(m, &batch, 0);
        beam_model_observe(m, NULL, NULL);
        status = beam_model_token_losses(m, out->logprob);
    }
    if (!status)
        status = read_best(m, out);
    for (int64_t i = 0; !status && i + 1 < n; i++)
        out->logprob[i] = -out->logprob[i];
    free(r.expert);
    free(r.keep);
    free(r.logit);
    beam_batch_free(&batch);
    if (status)
        beam_score_free(out);
    return status;
}

void beam_score_free(beam_score_result *r)
{
    free(r->logprob);
    free(r->kept);
    free(r->expert);
    free(r->logit);
    free(r->best_id);
    free(r->best_logit);
    *r = (beam_score_result){0};
}
