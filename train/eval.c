#include "train/eval.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

double beam_moe_flops_saved(const beam_model_config *c, bool masks, double avg_active)
{
    const double d = (double)c->hidden_size, k = (double)c->top_k;
    const double expert = 3 * d * (double)c->moe_intermediate_size;
    const double shared = 3 * d * (double)c->shared_size + (c->shared_gate ? d : 0);
    const double gate = d * (double)(masks ? c->experts : c->null_experts);
    const double given = masks && c->mask.give_back ? (k - avg_active) * d : 0;
    return 1 - (avg_active * expert + shared + gate + given) / (k * expert + shared);
}

/* Counts, as batches pass, how many different experts groups of tokens from different rows keep. */
typedef struct {
    beam_backend *be;
    const beam_batch *batch;
    int64_t rows, experts, top_k;
    int32_t *expert; /* host copies of a layer's route [T,K] */
    uint8_t *keep;
    uint8_t *seen; /* [experts] */
    double sum[BEAM_DISTINCT_SIZES];
    int64_t groups[BEAM_DISTINCT_SIZES];
} distinct_counter;

/* One group: the tokens at `offset` of rows [first, first + n). Returns false if one of them is padding. */
static bool group_distinct(distinct_counter *d, int64_t offset, int64_t first, int64_t n, double *out)
{
    const int64_t length = d->batch->tokens / d->rows;
    memset(d->seen, 0, (size_t)d->experts);
    for (int64_t r = first; r < first + n; r++) {
        const int64_t t = r * length + offset;
        if (!d->batch->counted[t])
            return false;
        for (int64_t k = 0; k < d->top_k; k++)
            if (d->keep[t * d->top_k + k])
                d->seen[d->expert[t * d->top_k + k]] = 1;
    }
    *out = 0;
    for (int64_t e = 0; e < d->experts; e++)
        *out += d->seen[e];
    return true;
}

static void count_distinct(void *context, const beam_moe_seen *seen)
{
    enum { STRIDE = 16 }; /* every 16th offset is plenty */
    distinct_counter *d = context;
    const beam_route *route = seen->route;
    const int64_t length = d->batch->tokens / d->rows;
    beam_download(d->be, d->expert, beam_rows(route->expert, 0, d->batch->tokens));
    beam_download(d->be, d->keep, beam_rows(route->keep, 0, d->batch->tokens));
    for (int i = 0; i < BEAM_DISTINCT_SIZES && (INT64_C(1) << i) <= d->rows; i++) {
        const int64_t n = INT64_C(1) << i;
        for (int64_t offset = STRIDE / 2; offset < length; offset += STRIDE)
            for (int64_t first = 0; first + n <= d->rows; first += n) {
                double distinct;
                if (!group_distinct(d, offset, first, n, &distinct))
                    continue;
                d->sum[i] += distinct;
                d->groups[i]++;
            }
    }
}

typedef struct {
    double loss;
    int64_t correct, targets, tokens;
} sums;

static beam_status run_batches(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                               distinct_counter *d, sums *s)
{
    for (int64_t row = 0; row < limit; row += rows_per_batch) {
        const beam_batch *batch;
        beam_forward_result result;
        BEAM_TRY(beam_loader_read(l, row, limit, &batch));
        d->batch = batch;
        beam_model_forward(m, batch, 0);
        BEAM_TRY(beam_model_result(m, &result));
        s->loss += result.loss;
        s->correct += result.correct;
        s->targets += result.targets;
        s->tokens += batch->counted_total;
    }
    return BEAM_OK;
}

static beam_status gather_stats(beam_model *m, beam_eval_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const int64_t columns = BEAM_STAT_EXPERTS + c->experts;
    double *stats = malloc((size_t)(out->moe_layers * columns + 1) * sizeof *stats);
    out->active = calloc((size_t)out->moe_layers + 1, sizeof *out->active);
    out->load = calloc((size_t)(out->moe_layers * c->experts) + 1, sizeof *out->load);
    beam_status status = stats && out->active && out->load
                             ? beam_model_take_stats(m, stats)
                             : BEAM_FAIL(BEAM_ENOMEM, "no memory for statistics");
    for (int64_t i = 0; !status && i < out->moe_layers; i++) {
        const double *row = stats + i * columns;
        const double tokens = row[BEAM_STAT_TOKENS] > 0 ? row[BEAM_STAT_TOKENS] : 1;
        out->active[i] = row[BEAM_STAT_KEPT] / tokens;
        for (int64_t e = 0; e < c->experts; e++)
            out->load[i * c->experts + e] = row[BEAM_STAT_EXPERTS + e] / tokens;
    }
    if (!status) {
        out->avg_active = beam_stats_mean(c, stats, BEAM_STAT_KEPT);
        out->soft_active = beam_stats_mean(c, stats, BEAM_STAT_SOFT);
        out->zero_expert_tokens = beam_stats_mean(c, stats, BEAM_STAT_NONE_KEPT);
    }
    free(stats);
    return status;
}

beam_status beam_evaluate(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                          beam_eval_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const double start = beam_seconds();
    if (limit <= 0 || limit > beam_loader_rows(l))
        limit = beam_loader_rows(l);
    *out = (beam_eval_result){.moe_layers = beam_moe_layers(c), .experts = c->experts};
    const size_t most = (size_t)beam_model_max_tokens(m);
    distinct_counter d = {
        .be = beam_model_backend(m), .rows = rows_per_batch, .experts = c->experts, .top_k = c->top_k};
    d.expert = malloc(most * (size_t)c->top_k * sizeof *d.expert);
    d.keep = malloc(most * (size_t)c->top_k);
    d.seen = malloc((size_t)c->experts + 1);
    beam_status status = d.expert && d.keep && d.seen ? beam_model_take_stats(m, NULL)
                                                      : BEAM_FAIL(BEAM_ENOMEM, "no memory to evaluate");
    sums s = {0};
    if (!status) {
        beam_model_observe(m, count_distinct, &d);
        status = run_batches(m, l, limit, rows_per_batch, &d, &s);
        beam_model_observe(m, NULL, NULL);
    }
    if (!status)
        status = gather_stats(m, out);
    out->targets = s.targets;
    out->tokens = s.tokens;
    out->loss = s.targets ? s.loss / (double)s.targets : 0;
    out->accuracy = s.targets ? (double)s.correct / (double)s.targets : 0;
    const beam_expert_rule rule = beam_model_rule(m);
    out->moe_flops_saved = out->moe_layers ? beam_moe_flops_saved(c, rule.masks, out->avg_active) : 0;
    for (int i = 0; i < BEAM_DISTINCT_SIZES; i++)
        out->distinct[i] = d.groups[i] ? d.sum[i] / (double)d.groups[i] : -1;
    out->seconds = beam_seconds() - start;
    free(d.expert);
    free(d.keep);
    free(d.seen);
    if (status)
        beam_eval_free(out);
    return status;
}

void beam_eval_free(beam_eval_result *r)
{
    free(r->active);
    free(r->load);
    r->active = r->load = NULL;
}
