/* Router and mask of serve/beam_moe.h: the rules are those of the kernels that training uses. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "serve/moe_state.h"

enum { PARALLEL_TOKENS = 16 }; /* fewer are not worth waking threads for */

typedef struct {
    beam_tensor product, prob; /* [T,E+N] */
    beam_route route;
} route_room;

static void lay_out(route_room *r, const beam_moe *m, int64_t tokens, beam_arena *a)
{
    const int64_t columns = m->experts + m->null_experts;
    *r = (route_room){
        .product = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, columns)),
        .prob = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, columns)),
        .route = {.expert = beam_push(a, BEAM_I32, BEAM_DIMS(tokens, m->top_k)),
                  .weight = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->top_k)),
                  .logit = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->top_k)),
                  .gate = beam_push(a, BEAM_F32, BEAM_DIMS(tokens, m->top_k)),
                  .keep = beam_push(a, BEAM_U8, BEAM_DIMS(tokens, m->top_k)),
                  .kept = beam_view(NULL, BEAM_I32, BEAM_DIMS(m->experts))}, /* read for its shape */
    };
}

void beam_moe_measure_route(const beam_moe *m, int64_t tokens, beam_arena *a)
{
    route_room r;
    lay_out(&r, m, tokens, a);
}

/* product[t,e] = <row e of W_m, x[t]> at the candidates: all rows where tokens have so many that most rows
 * are somebody's candidate. */
static void mask_product(const beam_moe *m, const route_room *r, const float *x, int64_t tokens)
{
    const beam_matrix w = beam_moe_rows(&m->mask_router, m->experts, m->hidden_size);
    float *product = r->product.data;
    if (tokens * m->top_k >= m->experts) {
        beam_thin_product(beam_moe_threads(m), product, m->experts, w, x, m->hidden_size, tokens);
        return;
    }
    const int32_t *expert = r->route.expert.data;
    for (int64_t i = 0; i < tokens * m->top_k; i++) {
        const int64_t t = i / m->top_k;
        const float *in = x + t * m->hidden_size;
        beam_thin_dots(product + t * m->experts + expert[i], 1, beam_matrix_rows(w, expert[i], 1), &in, 1);
    }
}

static beam_tensor vector(const float *data, int64_t n)
{
    return beam_view((void *)(uintptr_t)data, BEAM_F32, BEAM_DIMS(n)); /* only read */
}

static void apply_masks(const beam_moe *m, const route_room *r, beam_backend *be, const float *x,
                        int64_t tokens)
{
    const beam_tensor product = beam_view(r->product.data, BEAM_F32, BEAM_DIMS(tokens, m->experts));
    const beam_gate_terms terms = {.bias = vector(m->mask_bias, m->experts),
                                   .scale = vector(m->mask_scale, 1),
                                   .rank_bias = vector(m->mask_rank_bias, m->top_k),
                                   .cutoff = log(m->threshold / (1 - m->threshold)),
                                   .temperature = 1};
    mask_product(m, r, x, tokens);
    beam_cpu_mask_gate(be, &r->route, product, &terms);
}

static void write_pairs(const beam_moe *m, const route_room *r, int64_t tokens, const beam_moe_pairs *pairs,
                        const float *gain)
{
    const int32_t *expert = r->route.expert.data;
    const float *weight = r->route.weight.data;
    const uint8_t *keep = r->route.keep.data;
    for (int64_t i = 0; i < tokens * m->top_k; i++) {
        pairs->id[i] = keep[i] ? expert[i] : -1;
        pairs->weight[i] = keep[i] ? weight[i] : 0;
        if (pairs->candidate)
            pairs->candidate[i] = expert[i];
        if (pairs->gain)
            pairs->gain[i] = gain[i];
    }
}

void beam_moe_route_f32(const beam_moe *m, const float *x, int64_t tokens, const beam_moe_pairs *pairs,
                        beam_arena *a)
{
    route_room r;
    lay_out(&r, m, tokens, a);
    const int64_t columns = m->experts + m->null_experts;
    const int threads = beam_moe_threads(m);
    beam_backend be = {.real = BEAM_F32, .threads = tokens < PARALLEL_TOKENS ? 1 : threads};
    const beam_router_rule rule = {.normalize = m->normalize != 0,
                                   .scale = m->scale > 0 ? m->scale : 1,
                                   .groups = m->groups > 0 ? m->groups : 1,
                                   .kept_groups = m->groups > 0 ? m->kept_groups : 1};
    beam_thin_product(threads, r.product.data, columns, beam_moe_rows(&m->router, columns, m->hidden_size), x,
                      m->hidden_size, tokens);
    beam_cpu_router_topk(&be, &r.route, r.prob, r.product, rule);
    /* The rule of pruning changes weights: what they were is put aside where nobody needs the room. */
    memcpy(r.prob.data, r.route.weight.data, beam_bytes(r.route.weight));
    if (m->mask_router.data) {
        apply_masks(m, &r, &be, x, tokens);
    } else {
        const beam_prune_rule prune = {.keep = m->keep > 0 ? m->keep : (int)m->top_k,
                                       .share = m->share > 0 ? m->share : 1,
                                       .anchor = m->anchor > 0 ? m->anchor : (int)m->top_k};
        beam_cpu_gate_open(&be, &r.route, prune);
    }
    write_pairs(m, &r, tokens, pairs, r.prob.data);
}
