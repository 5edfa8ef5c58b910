#include "decode/device_layer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "support/values.h"

static void *need(void *p)
{
    assert_non_null(p);
    return p;
}

void *layer_room(test_layer *l, size_t bytes)
{
    void *p = need(beam_alloc(&l->be, bytes, "a test")), *ones = need(malloc(bytes + 1));
    memset(ones, 0xff, bytes);
    beam_upload(&l->be, beam_view(p, BEAM_U8, BEAM_DIMS((int64_t)bytes)), ones);
    free(ones);
    return p;
}

/* A random tensor in both memories: rows of `width` numbers. Returns its number. */
static int add(test_layer *l, const char *name, beam_dtype type, int64_t rows, int64_t width, double scale)
{
    const int i = l->tensors++;
    assert_true(i < LAYER_MOST_TENSORS);
    const beam_tensor shape = beam_view(NULL, type, BEAM_DIMS(rows, width));
    l->host[i] = beam_view(need(malloc(beam_bytes(shape))), type, BEAM_DIMS(rows, width));
    test_fill_normal(l->host[i], name, scale);
    return i;
}

static void upload(test_layer *l, int i)
{
    beam_tensor t = l->host[i];
    t.data = l->device[i] = layer_room(l, beam_bytes(t));
    beam_upload(&l->be, t, l->host[i].data);
}

static beam_dtype dtype_of(int32_t type)
{
    return type == BEAM_MOE_BF16 ? BEAM_BF16 : BEAM_F32;
}

/* Both descriptions' matrix at the same place. */
static void add_matrix(test_layer *l, beam_moe_matrix *at, const char *name, int64_t rows, int64_t width)
{
    const int32_t type = l->shape.weight_type;
    const int i = add(l, name, dtype_of(type), rows, width, 1 / sqrt((double)width));
    beam_moe_matrix *gpu = (beam_moe_matrix *)(void *)((char *)&l->gpu + ((char *)at - (char *)&l->cpu));
    /* Equal rows have equal logits, so that the lower id must win. */
    for (int64_t j = 0; l->shape.ties && at == &l->cpu.router && j < rows * width; j++)
        test_set(l->host[i], j, test_get(l->host[i], j % (2 * width)));
    upload(l, i);
    *at = (beam_moe_matrix){.data = l->host[i].data, .type = type};
    *gpu = (beam_moe_matrix){.data = l->device[i], .type = type};
}

static void add_vector(test_layer *l, const float **at, const float **gpu, const char *name, int64_t n)
{
    const int i = add(l, name, BEAM_F32, 1, n, 0.3);
    upload(l, i);
    *at = l->host[i].data;
    *gpu = l->device[i];
}

static void add_masks(test_layer *l)
{
    const layer_shape *s = &l->shape;
    add_matrix(l, &l->cpu.mask_router, "mask router", s->E, s->D);
    add_vector(l, &l->cpu.mask_bias, &l->gpu.mask_bias, "bias", s->E);
    add_vector(l, &l->cpu.mask_scale, &l->gpu.mask_scale, "scale", 1);
    add_vector(l, &l->cpu.mask_rank_bias, &l->gpu.mask_rank_bias, "rank bias", s->K);
    if (s->give_back)
        add_matrix(l, &l->cpu.give_back, "give back", s->E, s->D);
}

void layer_open(test_layer *l, const layer_shape *shape, beam_backend be)
{
    const layer_shape *s = &l->shape;
    *l = (test_layer){.shape = *shape, .be = be};
    l->cpu = (beam_moe){.size = sizeof l->cpu,
                        .abi = BEAM_MOE_ABI,
                        .threads = 1,
                        .hidden_size = s->D,
                        .experts = s->E,
                        .null_experts = s->N,
                        .top_k = s->K,
                        .expert_size = s->F,
                        .shared_size = s->S,
                        .hidden_type = s->hidden_type,
                        .normalize = s->normalize,
                        .scale = s->scale,
                        .groups = s->groups,
                        .kept_groups = s->kept_groups,
                        .threshold = s->masks ? 0.4 : 0,
                        .keep = s->keep,
                        .anchor = s->anchor,
                        .share = s->share};
    l->gpu = l->cpu;
    l->gpu.device = BEAM_MOE_CUDA;
    add_matrix(l, &l->cpu.router, "router", s->E + s->N, s->D);
    add_matrix(l, &l->cpu.gate_up, "gate up", s->E * 2 * s->F, s->D);
    add_matrix(l, &l->cpu.down, "down", s->E * s->D, s->F);
    if (s->S > 0) {
        add_matrix(l, &l->cpu.shared_gate_up, "shared gate up", 2 * s->S, s->D);
        add_matrix(l, &l->cpu.shared_down, "shared down", s->D, s->S);
    }
    if (s->shared_gate)
        add_matrix(l, &l->cpu.shared_gate, "shared gate", 1, s->D);
    if (s->masks)
        add_masks(l);
    const int x = add(l, "hidden states", dtype_of(s->hidden_type), s->tokens, s->D, 1);
    upload(l, x);
    l->x = l->gpu_x = l->host[x];
    l->gpu_x.data = l->device[x];
}

void layer_close(test_layer *l)
{
    for (int i = 0; i < l->tensors; i++) {
        free(l->host[i].data);
        beam_free(&l->be, l->device[i]);
    }
    beam_backend_close(&l->be);
}

beam_moe_pairs layer_new_pairs(test_layer *l, bool on_device)
{
    void *p[4];
    const size_t bytes = (size_t)(l->shape.tokens * l->shape.K) * 4;
    for (int i = 0; i < 4; i++)
        p[i] = on_device ? layer_room(l, bytes) : need(calloc(1, bytes));
    return (beam_moe_pairs){.id = p[0], .weight = p[1], .candidate = p[2], .gain = p[3]};
}

void layer_free_pairs(test_layer *l, beam_moe_pairs *p, bool on_device)
{
    void *const all[] = {p->id, p->weight, p->candidate, p->gain};
    for (int i = 0; i < 4; i++)
        if (on_device)
            beam_free(&l->be, all[i]);
        else
            free(all[i]);
}

double layer_margin(const test_layer *l, const beam_moe_pairs *p, int64_t t, int64_t rank)
{
    const int64_t D = l->shape.D, K = l->shape.K, e = p->candidate[t * K + rank];
    const beam_tensor w = beam_view((void *)(uintptr_t)l->cpu.mask_router.data,
                                    dtype_of(l->shape.weight_type), BEAM_DIMS(l->shape.E, D));
    double u = (double)l->cpu.mask_bias[e] + (double)l->cpu.mask_rank_bias[rank], sum = 0;
    for (int64_t i = 0; i < D; i++)
        u += test_get(w, e * D + i) * test_get(l->x, t * D + i);
    for (int64_t k = 0; k < K; k++)
        sum += (double)p->gain[t * K + k];
    u += (double)l->cpu.mask_scale[0] * log((double)K * (double)p->gain[t * K + rank] / sum);
    return u - log(l->cpu.threshold / (1 - l->cpu.threshold));
}

enum { BF16 = BEAM_MOE_BF16 };

static const layer_shape shapes[] = {
    {.name = "masks",
     .tokens = 9,
     .D = 40,
     .E = 12,
     .K = 4,
     .F = 24,
     .masks = true,
     .normalize = true,
     .scale = 1},
    {.name = "masks, give-back, shared",
     .tokens = 9,
     .D = 24,
     .E = 12,
     .K = 4,
     .F = 24,
     .S = 24,
     .masks = true,
     .give_back = true,
     .shared_gate = true,
     .scale = 1.5},
    {.name = "bf16",
     .tokens = 9,
     .D = 264,
     .E = 12,
     .K = 4,
     .F = 40,
     .S = 24,
     .masks = true,
     .give_back = true,
     .normalize = true,
     .scale = 1,
     .weight_type = BF16,
     .hidden_type = BF16},
    {.name = "bf16 weights, odd sizes",
     .tokens = 9,
     .D = 37,
     .E = 5,
     .K = 3,
     .F = 21,
     .S = 13,
     .masks = true,
     .give_back = true,
     .shared_gate = true,
     .scale = 1,
     .weight_type = BF16},
    {.name = "odd sizes", .tokens = 7, .D = 33, .E = 7, .K = 5, .F = 11, .S = 9, .masks = true, .scale = 1},
    {.name = "all candidates", .tokens = 9, .D = 24, .E = 6, .K = 6, .F = 16, .scale = 1},
    {.name = "one token",
     .tokens = 1,
     .D = 40,
     .E = 64,
     .K = 8,
     .F = 8,
     .masks = true,
     .normalize = true,
     .scale = 1},
    {.name = "null experts, pruned",
     .tokens = 9,
     .D = 24,
     .E = 7,
     .N = 4,
     .K = 5,
     .F = 16,
     .normalize = true,
     .scale = 1,
     .keep = 3,
     .anchor = 2},
    {.name = "groups, share",
     .tokens = 9,
     .D = 24,
     .E = 12,
     .K = 4,
     .F = 16,
     .S = 8,
     .scale = 2,
     .groups = 4,
     .kept_groups = 2,
     .share = 0.7,
     .anchor = 1},
    {.name = "ties", .tokens = 9, .D = 24, .E = 8, .K = 5, .F = 8, .scale = 1, .ties = true},
    {.name = "more tokens than a tile",
     .tokens = 260,
     .D = 9,
     .E = 3,
     .K = 2,
     .F = 3,
     .S = 2,
     .masks = true,
     .give_back = true,
     .scale = 1},
    {.name = "one expert", .tokens = 5, .D = 8, .E = 1, .K = 1, .F = 1, .masks = true, .scale = 1},
};

const layer_shape *layer_shapes(int i)
{
    _Static_assert(sizeof shapes / sizeof shapes[0] == LAYER_SHAPES, "all of them");
    assert_true(i >= 0 && i < LAYER_SHAPES);
    return &shapes[i];
}
