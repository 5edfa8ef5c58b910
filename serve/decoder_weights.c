#include "serve/decoder_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <omp.h>

#include "core/bf16.h"
#include "core/host_memory.h"
#include "core/rng.h"
#include "kernels/decode/ops.h"
#include "model/load.h"

/* A GPU says itself what it has no room for. */
static beam_status require_memory(beam_model_weights *w, const char *name, const beam_backend *be)
{
    size_t values, grads;
    beam_model_weights_measure(w, &values, &grads);
    return beam_decodes_on_gpu(be) ? BEAM_OK : beam_require_host_memory(values, name);
}

beam_status beam_require_host_memory(size_t bytes, const char *what)
{
    beam_host_memory machine;
    beam_host_memory_look("", &machine);
    if (machine.total > 0 && (double)bytes > (double)machine.available)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: needs %.2f GB of memory, but only %.2f GB are free; take a smaller model, or "
                         "fewer sequences at a time and fewer tokens of each",
                         what, 1e-9 * (double)bytes, 1e-9 * (double)machine.available);
    return BEAM_OK;
}

beam_status beam_decoder_weights_load(beam_model_weights *w, const beam_model_config *c, const char *folder,
                                      const char *gates, beam_backend *be)
{
    BEAM_TRY(beam_model_weights_list(w, c, BEAM_SCOPE_NONE, BEAM_F32));
    beam_status status = beam_params_as_stored(w->params, c, folder);
    if (!status)
        status = require_memory(w, folder, be);
    if (status) {
        beam_model_weights_unlist(w);
        return status;
    }
    BEAM_TRY(beam_model_weights_place(w, be));
    status = beam_params_load(w->params, c, folder, c->mask.present && !gates, be);
    if (!status && gates)
        status = beam_gates_load(w->params, c, gates, be);
    if (status)
        beam_model_weights_free(w, be);
    return status;
}

enum { PART = 1 << 20, BLOCK = 1 << 14 }; /* numbers made at a time, and by one thread */

/* n numbers from number `first` on, uniform with standard deviation `deviation`, from counters: threads share
 * them. `first` is a multiple of 4. */
static void make_bf16(uint16_t *to, int64_t first, int64_t n, uint64_t stream, double deviation, int threads)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    const float step = (float)(deviation * sqrt(12.0) / 65536);
#pragma omp parallel for num_threads(threads)
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; i += 4) {
            const uint64_t bits = beam_random_bits(1, stream, (uint64_t)(first + i));
            for (int64_t j = 0; j < 4 && i + j < n; j++)
                to[i + j] = beam_f32_to_bf16(step * ((float)(bits >> (16 * j) & 0xffff) - 32767.5f));
        }
}

static void fill_bf16(beam_backend *be, beam_tensor t, const char *name, double deviation, uint16_t *room)
{
    const beam_tensor all = beam_reshape(t, BEAM_DIMS(beam_count(t)));
    const int threads = beam_decodes_on_gpu(be) ? omp_get_max_threads() : be->threads;
    for (int64_t at = 0, n; at < all.dim[0]; at += n) {
        n = all.dim[0] - at < PART ? all.dim[0] - at : PART;
        make_bf16(room, at, n, beam_hash_string(name), deviation, threads);
        beam_upload(be, beam_rows(all, at, n), room);
    }
}

static void fill_f32(beam_backend *be, beam_tensor t, float value, float *room)
{
    const int64_t n = beam_count(t);
    BEAM_ASSERT(n <= PART / 2); /* vectors, and so within the room of PART numbers of bf16 */
    for (int64_t i = 0; i < n; i++)
        room[i] = value;
    beam_upload(be, t, room);
}

/* z with P(normal <= z) = p, by bisection. */
static double normal_quantile(double p)
{
    double low = -10, high = 10;
    for (int i = 0; i < 80; i++) {
        const double middle = (low + high) / 2;
        if (erfc(-middle / sqrt(2.0)) / 2 < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static bool has(const beam_param *p, const char *part)
{
    return strstr(p->name, part) != NULL;
}

static void fill(beam_model_weights *w, double share, beam_backend *be, void *room)
{
    for (int i = 0; i < w->params.n; i++) {
        const beam_param *p = &w->params.at[i];
        const double columns = (double)p->value.dim[p->value.ndim - 1];
        if (p->value.dtype == BEAM_BF16)
            fill_bf16(be, p->value, p->name, has(p, "embed_tokens") ? 1 : 1 / sqrt(columns), room);
        else
            fill_f32(be, p->value,
                     has(p, "norm")             ? 1
                     : has(p, "mask_gate.bias") ? (float)normal_quantile(share)
                                                : 0,
                     room);
    }
}

beam_status beam_decoder_weights_random(beam_model_weights *w, const beam_model_config *c, double share,
                                        beam_backend *be)
{
    BEAM_TRY(beam_model_weights_list(w, c, BEAM_SCOPE_NONE, BEAM_F32));
    for (int i = 0; i < w->params.n; i++)
        if (w->params.at[i].value.ndim > 1)
            w->params.at[i].value.dtype = BEAM_BF16;
    beam_status status = require_memory(w, c->model_type, be);
    if (status) {
        beam_model_weights_unlist(w);
        return status;
    }
    BEAM_TRY(beam_model_weights_place(w, be));
    void *room = malloc(PART * sizeof(uint16_t));
    if (room)
        fill(w, share, be, room);
    status = room ? beam_sync(be) : BEAM_FAIL(BEAM_ENOMEM, "no memory to make random weights");
    free(room);
    if (status)
        beam_model_weights_free(w, be);
    return status;
}

beam_status beam_decoder_weights_borrow(beam_model_weights *w, beam_model *m)
{
    const beam_params params = beam_model_params(m);
    BEAM_TRY(beam_model_weights_list(w, beam_model_config_of(m), BEAM_SCOPE_NONE, BEAM_F32));
    BEAM_ASSERT(w->params.n == params.n);
    for (int i = 0; i < params.n; i++)
        w->params.at[i].value = params.at[i].value;
    return BEAM_OK;
}

static beam_moe_matrix matrix(const beam_param *p)
{
    if (!p)
        return (beam_moe_matrix){0};
    return (beam_moe_matrix){.data = p->value.data,
                             .type = p->value.dtype == BEAM_BF16 ? BEAM_MOE_BF16 : BEAM_MOE_F32};
}

static const float *vector(const beam_param *p)
{
    return p ? p->value.data : NULL;
}

static void set_masks(beam_moe *m, const beam_model_config *c, const beam_mask_weights *w)
{
    m->mask_router = matrix(w->weight);
    m->mask_bias = vector(w->bias);
    m->mask_scale = vector(w->scale);
    m->mask_rank_bias = vector(w->rank_bias);
    m->give_back = matrix(w->given);
    m->threshold = c->mask.threshold;
}

beam_moe beam_moe_of(const beam_model_config *c, const beam_mlp_weights *w, beam_expert_rule rule,
                     int threads)
{
    const bool groups = c->kept_groups < c->expert_groups;
    const beam_prune_rule *prune = &rule.prune;
    beam_moe m = {
        .size = sizeof m,
        .abi = BEAM_MOE_ABI,
        .device = BEAM_MOE_CPU,
        .threads = threads,
        .hidden_size = c->hidden_size,
        .experts = c->experts,
        .null_experts = c->null_experts,
        .top_k = c->top_k,
        .expert_size = c->moe_intermediate_size,
        .shared_size = c->shared_size,
        .hidden_type = BEAM_MOE_F32,
        .normalize = c->norm_topk_prob,
        .scale = c->routed_scale,
        .groups = groups ? (int32_t)c->expert_groups : 0,
        .kept_groups = groups ? (int32_t)c->kept_groups : 0,
        .router = matrix(w->router),
        .gate_up = matrix(w->gate_up),
        .down = matrix(w->down),
        .shared_gate_up = matrix(w->shared_gate_up),
        .shared_down = matrix(w->shared_down),
        .shared_gate = matrix(w->shared_gate),
        .keep = prune->keep,
        .share = prune->share,
        .anchor = prune->anchor > 0 ? prune->anchor : 1,
    };
    if (rule.masks)
        set_masks(&m, c, &w->mask);
    return m;
}
