#include "train/experts.h"

#include <math.h>
#include <stdlib.h>

#include "model/load.h"

/* Sums over batches, layer by layer. */
typedef struct {
    beam_backend *be;
    const beam_batch *batch;
    int64_t experts, top_k;
    beam_tensor peak;     /* f64 [MoE layers,E] on the device */
    beam_expert_use *use; /* [MoE layers][E] */
    int32_t *expert;      /* host copies of a layer's route [T,K] */
    float *weight;
    beam_status status; /* of fetching them */
} profiler;

static void observe(void *context, const beam_moe_seen *seen)
{
    profiler *p = context;
    const beam_tensor row = beam_rows(p->peak, seen->layer, 1);
    beam_expert_peaks(p->be, beam_reshape(row, BEAM_DIMS(p->experts)), seen->rows_out, seen->counted,
                      seen->route, BEAM_ROWS_KEPT);
    beam_download(p->be, p->expert, seen->route->expert);
    const beam_status status = beam_tensor_get_f32(p->be, seen->route->weight, p->weight);
    if (status) {
        p->status = status;
        return;
    }
    beam_expert_use *use = p->use + seen->layer * p->experts;
    for (int64_t i = 0; i < p->batch->tokens * p->top_k; i++) {
        if (!p->batch->counted[i / p->top_k] || p->expert[i] >= p->experts) /* padding; a null expert */
            continue;
        use[p->expert[i]].candidate++;
        use[p->expert[i]].weight += (double)p->weight[i];
    }
}

static beam_status run_batches(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                               profiler *p, int64_t *tokens)
{
    for (int64_t row = 0; row < limit; row += rows_per_batch) {
        beam_forward_result result;
        BEAM_TRY(beam_loader_read(l, row, limit, &p->batch));
        beam_model_forward(m, p->batch, 0);
        BEAM_TRY(beam_model_result(m, &result));
        BEAM_TRY(p->status);
        *tokens += p->batch->counted_total;
    }
    return BEAM_OK;
}

static void name_experts(const beam_model_config *c, beam_expert_use *use)
{
    for (int64_t layer = 0; layer < c->layers; layer++)
        for (int64_t e = 0; c->moe_layer[layer] && e < c->experts; e++)
            *use++ = (beam_expert_use){.layer = layer, .expert = e};
}

static int by_peak(const void *a, const void *b)
{
    const beam_expert_use *x = a, *y = b;
    if (x->peak != y->peak)
        return x->peak > y->peak ? -1 : 1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return x->expert < y->expert ? -1 : x->expert > y->expert;
}

/* Means from sums, peaks from the device, in order. */
static beam_status conclude(const profiler *p, beam_expert_profile *out)
{
    double *peak = malloc((size_t)out->n * sizeof *peak);
    if (!peak)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a profile of experts");
    beam_download(p->be, peak, p->peak);
    beam_status status = beam_sync(p->be);
    for (int64_t i = 0; !status && i < out->n; i++) {
        beam_expert_use *use = &out->at[i];
        use->peak = peak[i];
        use->weight = use->candidate ? use->weight / (double)use->candidate : 0;
        if (!isfinite(use->peak))
            status =
                BEAM_FAIL(BEAM_ENUMERIC,
                          "expert %lld of layer %lld puts out numbers that are not finite; `beam inspect "
                          "--verify` looks for weights that are not",
                          (long long)use->expert, (long long)use->layer);
    }
    free(peak);
    if (status)
        return status;
    qsort(out->at, (size_t)out->n, sizeof *out->at, by_peak);
    out->super = beam_super_experts(out->at, out->n);
    return BEAM_OK;
}

static beam_status allocate(beam_model *m, profiler *p, beam_expert_profile *out)
{
    const beam_model_config *c = beam_model_config_of(m);
    const int64_t layers = beam_moe_layers(c);
    const size_t pairs = (size_t)(beam_model_max_tokens(m) * c->top_k);
    out->n = layers * c->experts;
    if (out->n == 0)
        return BEAM_FAIL(BEAM_EMODEL, "no layer is a mixture of experts, so there are no experts to look at");
    *p = (profiler){.be = beam_model_backend(m), .experts = c->experts, .top_k = c->top_k};
    p->use = out->at = calloc((size_t)out->n, sizeof *out->at);
    p->expert = malloc(pairs * sizeof *p->expert);
    p->weight = malloc(pairs * sizeof *p->weight);
    if (!out->at || !p->expert || !p->weight)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a profile of %lld experts", (long long)out->n);
    void *block = beam_alloc(p->be, (size_t)out->n * sizeof(double), "peaks of experts");
    p->peak = beam_view(block, BEAM_F64, BEAM_DIMS(layers, c->experts));
    BEAM_TRY(p->be->status);
    beam_zero(p->be, p->peak);
    name_experts(c, out->at);
    return BEAM_OK;
}

static beam_status look(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch, profiler *p,
                        beam_expert_profile *out)
{
    const beam_expert_rule before = beam_model_rule(m);
    beam_expert_rule all = before;
    all.masks = false;
    beam_model_set_rule(m, all);
    beam_model_observe(m, observe, p);
    const beam_status status = run_batches(m, l, limit, rows_per_batch, p, &out->tokens);
    beam_model_observe(m, NULL, NULL);
    beam_model_set_rule(m, before);
    BEAM_TRY(status);
    BEAM_TRY(beam_model_take_stats(m, NULL));
    return conclude(p, out);
}

beam_status beam_expert_profile_make(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                                     beam_expert_profile *out)
{
    profiler p = {0};
    *out = (beam_expert_profile){0};
    if (limit <= 0 || limit > beam_loader_rows(l))
        limit = beam_loader_rows(l);
    beam_status status = allocate(m, &p, out);
    if (!status)
        status = look(m, l, limit, rows_per_batch, &p, out);
    if (p.be)
        beam_free(p.be, p.peak.data);
    free(p.expert);
    free(p.weight);
    if (status)
        beam_expert_profile_free(out);
    return status;
}

void beam_expert_profile_free(beam_expert_profile *p)
{
    free(p->at);
    *p = (beam_expert_profile){0};
}

/* The value below which the share q of a falling list lies, interpolated between neighbours. */
static double quantile(const beam_expert_use *use, int64_t n, double q)
{
    const double place = (1 - q) * (double)(n - 1);
    const int64_t i = (int64_t)place, next = i + 1 < n ? i + 1 : i;
    return use[i].peak + (place - (double)i) * (use[next].peak - use[i].peak);
}

int64_t beam_super_experts(beam_expert_use *use, int64_t n)
{
    enum { ENOUGH = 200 }; /* one of them is half a percent */
    int64_t used = 0, super = 0;
    while (used < n && use[used].peak > 0)
        used++;
    if (used == 0)
        return 0;
    const double rare = used < ENOUGH ? 10 * quantile(use, used, 0.5) : quantile(use, used, 0.995);
    for (int64_t i = 0; i < used; i++) {
        use[i].super = use[i].peak > rare && use[i].peak > 0.1 * use[0].peak;
        super += use[i].super;
    }
    return super;
}
