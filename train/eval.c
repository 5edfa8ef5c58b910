#include "train/eval.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "train/signals.h"

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

/* What batches add up to, as one list, so that ranks can add it up in one go. All but the losses and what the
 * statistics say of soft masks are counts, which doubles add without rounding in any order. */
enum {
    CORRECT,
    STOPS, /* ranks that were asked to stop */
    TARGETS,
    TOKENS,
    DISTINCT,
    GROUPS = DISTINCT + BEAM_DISTINCT_SIZES,
    LISTS = GROUPS + BEAM_DISTINCT_SIZES
};

typedef struct {
    int64_t batches, statistics, n;
    int64_t passes; /* of the model, on this rank */
    double *all;    /* [n] */
    double *loss;   /* [batches] of these: each batch by itself, to be added in their order */
    double *stats;  /* [moe layers][BEAM_STAT_EXPERTS + E] of these */
} sums;

static beam_status open_sums(sums *s, const beam_model_config *c, int64_t batches)
{
    *s = (sums){.batches = batches, .statistics = beam_moe_layers(c) * (BEAM_STAT_EXPERTS + c->experts)};
    s->n = LISTS + s->batches + s->statistics;
    s->all = calloc((size_t)s->n, sizeof *s->all);
    if (!s->all)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory to evaluate");
    s->loss = s->all + LISTS;
    s->stats = s->loss + batches;
    return BEAM_OK;
}

/* Batches [first, end), or fewer if a signal comes. */
static beam_status run_batches(beam_model *m, beam_loader *l, int64_t limit, int64_t first, int64_t end,
                               distinct_counter *d, sums *s)
{
    BEAM_TRY(beam_model_take_stats(m, NULL));
    for (int64_t i = first; i < end; i++, s->passes++) {
        const beam_batch *batch;
        beam_forward_result result;
        if (beam_signals_stop()) {
            s->all[STOPS] = 1;
            break;
        }
        BEAM_TRY(beam_loader_read(l, i * d->rows, limit, &batch));
        d->batch = batch;
        beam_model_forward(m, batch, 0);
        BEAM_TRY(beam_model_result(m, &result));
        s->loss[i] = result.loss;
        s->all[CORRECT] += (double)result.correct;
        s->all[TARGETS] += (double)result.targets;
        s->all[TOKENS] += (double)batch->counted_total;
    }
    for (int i = 0; i < BEAM_DISTINCT_SIZES; i++) {
        s->all[DISTINCT + i] = d->sum[i];
        s->all[GROUPS + i] = (double)d->groups[i];
    }
    return beam_model_take_stats(m, s->stats);
}

static beam_status fill_result(const beam_model *m, const sums *s, beam_eval_result *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const int64_t columns = BEAM_STAT_EXPERTS + c->experts;
    double loss = 0;
    for (int64_t i = 0; i < s->batches; i++)
        loss += s->loss[i];
    out->targets = (int64_t)s->all[TARGETS];
    out->tokens = (int64_t)s->all[TOKENS];
    out->loss = out->targets ? loss / (double)out->targets : 0;
    out->accuracy = out->targets ? s->all[CORRECT] / (double)out->targets : 0;
    out->avg_active = beam_stats_mean(c, s->stats, BEAM_STAT_KEPT);
    out->soft_active = beam_stats_mean(c, s->stats, BEAM_STAT_SOFT);
    out->zero_expert_tokens = beam_stats_mean(c, s->stats, BEAM_STAT_NONE_KEPT);
    const bool masks = beam_model_rule(m).masks;
    out->moe_flops_saved = out->moe_layers ? beam_moe_flops_saved(c, masks, out->avg_active) : 0;
    for (int i = 0; i < BEAM_DISTINCT_SIZES; i++)
        out->distinct[i] = s->all[GROUPS + i] > 0 ? s->all[DISTINCT + i] / s->all[GROUPS + i] : -1;
    out->active = calloc((size_t)out->moe_layers + 1, sizeof *out->active);
    out->load = calloc((size_t)(out->moe_layers * c->experts) + 1, sizeof *out->load);
    if (!out->active || !out->load)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for statistics");
    for (int64_t i = 0; i < out->moe_layers; i++) {
        const double *row = s->stats + i * columns;
        const double tokens = row[BEAM_STAT_TOKENS] > 0 ? row[BEAM_STAT_TOKENS] : 1;
        out->active[i] = row[BEAM_STAT_KEPT] / tokens;
        for (int64_t e = 0; e < c->experts; e++)
            out->load[i * c->experts + e] = row[BEAM_STAT_EXPERTS + e] / tokens;
    }
    return BEAM_OK;
}

/* This rank's share of the batches. Where its experts serve other ranks it makes as many passes as they do.
 */
static beam_status run_share(beam_model *m, beam_loader *l, int64_t limit, const beam_comm *comm,
                             distinct_counter *d, sums *s)
{
    const int64_t rank = comm ? comm->rank : 0, size = comm ? comm->size : 1;
    const int64_t first = s->batches * rank / size, end = s->batches * (rank + 1) / size;
    beam_model_observe(m, count_distinct, d);
    beam_status status = run_batches(m, l, limit, first, end, d, s);
    beam_model_observe(m, NULL, NULL);
    const int64_t most = beam_model_config_of(m)->expert_ranks > 1 ? (s->batches + size - 1) / size : 0;
    for (int64_t i = s->passes; !status && i < most; i++)
        status = beam_model_idle(m);
    return status;
}

beam_status beam_evaluate(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                          beam_comm *comm, beam_eval_result *out)
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
    sums s = {0};
    beam_status status = d.expert && d.keep && d.seen
                             ? open_sums(&s, c, (limit + rows_per_batch - 1) / rows_per_batch)
                             : BEAM_FAIL(BEAM_ENOMEM, "no memory to evaluate");
    if (!status)
        status = run_share(m, l, limit, comm, &d, &s);
    if (!status && comm)
        status = beam_comm_sum(comm, s.all, s.n);
    if (!status && s.all[STOPS] > 0)
        status = BEAM_FAIL(BEAM_STOPPED, "a signal stopped the evaluation");
    if (!status)
        status = fill_result(m, &s, out);
    out->seconds = beam_seconds() - start;
    free(d.expert);
    free(d.keep);
    free(d.seen);
    free(s.all);
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
