#include "serve/score.h"

#include <stdlib.h>

typedef struct {
    beam_score_result *out;
    beam_backend *be;
    int32_t *expert; /* host copies of a layer's route [n,K] */
    uint8_t *keep;
} recorder;

static void record(void *context, const beam_moe_seen *seen)
{
    recorder *r = context;
    beam_score_result *s = r->out;
    const beam_route *route = seen->route;
    const int layer = seen->layer;
    beam_download(r->be, r->expert, beam_rows(route->expert, 0, s->n));
    beam_download(r->be, r->keep, beam_rows(route->keep, 0, s->n));
    for (int64_t t = 0; t < s->n; t++) {
        int32_t *ids = s->expert + (t * s->layers + layer) * s->top_k;
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
    r->expert = malloc(n * (size_t)out->top_k * sizeof *r->expert);
    r->keep = malloc(n * (size_t)out->top_k);
    return out->logprob && out->kept && out->expert && r->expert && r->keep
               ? BEAM_OK
               : BEAM_FAIL(BEAM_ENOMEM, "no memory to score %zu tokens", n);
}

beam_status beam_score(beam_model *m, const int32_t *ids, int64_t n, beam_score_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    *out = (beam_score_result){.n = n, .layers = beam_moe_layers(c), .top_k = c->top_k};
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
    for (int64_t i = 0; !status && i + 1 < n; i++)
        out->logprob[i] = -out->logprob[i];
    free(r.expert);
    free(r.keep);
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
    *r = (beam_score_result){0};
}
