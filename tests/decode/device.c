/* serve/beam_moe.h on a GPU against the same layer on the processor, and against itself, bit for bit. Built
 * twice: as decode.simt, where the kernels run on the processor and a second time with threads and blocks in
 * the opposite order, and as decode.cuda on a device (skipped where there is none). */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "decode/device_layer.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"
#include "kernels/ops.h"
#include "support/compare.h"
#include "support/values.h"

#ifdef BEAM_TEST_SIMT
static bool available(void)
{
    return true;
}

static beam_backend open_device(void)
{
    beam_backend be;
    assert_int_equal(beam_backend_simt(&be, BEAM_F32), BEAM_OK);
    return be;
}

static void reverse(const library *lib, bool backwards)
{
    void (*set)(bool);
    library_find(lib, "beam_simt_backwards", &set);
    set(backwards);
}
#else
static bool available(void)
{
    return beam_cuda_devices(NULL, 0) > 0;
}

static beam_backend open_device(void)
{
    beam_backend be;
    if (beam_backend_cuda(&be, 0, BEAM_F32) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return be;
}

static void reverse(const library *lib, bool backwards)
{
    (void)lib;
    (void)backwards;
}
#endif

typedef struct {
    test_layer layer;
    library lib;
    char *block; /* workspace on the device, from an address aligned to nothing */
    size_t bytes;
    void *stream;
} bench;

static void open_bench(bench *b, const layer_shape *shape)
{
    library_open(&b->lib, BEAM_MOE_LIBRARY);
    layer_open(&b->layer, shape, open_device());
    b->bytes = b->lib.workspace(&b->layer.gpu, shape->tokens);
    assert_true(b->bytes > 0);
    b->block = layer_room(&b->layer, b->bytes + 1);
    b->stream = ((const beam_cuda_impl *)b->layer.be.impl)->stream;
}

static void close_bench(bench *b)
{
    beam_free(&b->layer.be, b->block);
    layer_close(&b->layer);
    dlclose(b->lib.handle);
}

static size_t hidden_bytes(const bench *b, int64_t tokens)
{
    return (size_t)(tokens * b->layer.shape.D) * (b->layer.shape.hidden_type == BEAM_MOE_BF16 ? 2 : 4);
}

static void *fetch(bench *b, const void *device, size_t bytes)
{
    void *host = malloc(bytes + 1);
    assert_non_null(host);
    beam_download(&b->layer.be, host,
                  beam_view((void *)(uintptr_t)device, BEAM_U8, BEAM_DIMS((int64_t)bytes)));
    assert_int_equal(beam_sync(&b->layer.be), BEAM_OK);
    return host;
}

/* y of `tokens` tokens from number `from` on, in new host memory; pairs NULL: the whole layer. */
static void *run_device(bench *b, const beam_moe *m, int64_t from, int64_t tokens,
                        const beam_moe_pairs *pairs)
{
    const char *x = (const char *)b->layer.gpu_x.data + hidden_bytes(b, from);
    void *y = layer_room(&b->layer, hidden_bytes(b, tokens));
    const int code = pairs ? b->lib.experts(m, x, y, tokens, pairs, b->block + 1, b->bytes, b->stream)
                           : b->lib.run(m, x, y, tokens, b->block + 1, b->bytes, b->stream);
    assert_int_equal(code, BEAM_MOE_OK);
    void *host = fetch(b, y, hidden_bytes(b, tokens));
    beam_free(&b->layer.be, y);
    return host;
}

static void *run_processor(bench *b)
{
    test_layer *l = &b->layer;
    const int64_t tokens = l->shape.tokens;
    const size_t bytes = b->lib.workspace(&l->cpu, tokens);
    void *workspace = malloc(bytes), *y = malloc(hidden_bytes(b, tokens));
    assert_non_null(workspace);
    assert_non_null(y);
    assert_int_equal(b->lib.run(&l->cpu, l->x.data, y, tokens, workspace, bytes, NULL), BEAM_MOE_OK);
    free(workspace);
    return y;
}

static void route_processor(bench *b, beam_moe_pairs *p)
{
    test_layer *l = &b->layer;
    const size_t bytes = b->lib.workspace(&l->cpu, l->shape.tokens);
    void *workspace = malloc(bytes);
    assert_non_null(workspace);
    assert_int_equal(b->lib.route(&l->cpu, l->x.data, l->shape.tokens, p, workspace, bytes, NULL),
                     BEAM_MOE_OK);
    free(workspace);
}

/* What the device routed, on the host. */
static beam_moe_pairs fetch_pairs(bench *b, const beam_moe_pairs *p)
{
    const size_t bytes = (size_t)(b->layer.shape.tokens * b->layer.shape.K) * 4;
    return (beam_moe_pairs){.id = fetch(b, p->id, bytes),
                            .weight = fetch(b, p->weight, bytes),
                            .candidate = fetch(b, p->candidate, bytes),
                            .gain = fetch(b, p->gain, bytes)};
}

static void route_device(bench *b, const beam_moe_pairs *p)
{
    test_layer *l = &b->layer;
    assert_int_equal(
        b->lib.route(&l->gpu, l->gpu_x.data, l->shape.tokens, p, b->block + 1, b->bytes, b->stream),
        BEAM_MOE_OK);
}

/* The same candidates, and the same decisions where they are not within rounding of the threshold. Returns
 * whether no decision was. */
static bool same_route(const bench *b, const beam_moe_pairs *got, const beam_moe_pairs *want)
{
    const layer_shape *s = &b->layer.shape;
    bool clear = true;
    for (int64_t i = 0; i < s->tokens * s->K; i++) {
        assert_int_equal(got->candidate[i], want->candidate[i]);
        assert_true(fabs((double)got->gain[i] - (double)want->gain[i]) <= 2e-6 * fmax(1, s->scale));
        if (s->masks && fabs(layer_margin(&b->layer, want, i / s->K, i % s->K)) < 1e-5) {
            clear = false;
            continue;
        }
        assert_int_equal(got->id[i], want->id[i]);
        assert_true(fabs((double)got->weight[i] - (double)want->weight[i]) <= 4e-6 * fmax(1, s->scale));
    }
    return clear;
}

static void assert_same_pairs(const bench *b, const beam_moe_pairs *p, const beam_moe_pairs *q)
{
    const size_t bytes = (size_t)(b->layer.shape.tokens * b->layer.shape.K) * 4;
    assert_memory_equal(p->id, q->id, bytes);
    assert_memory_equal(p->weight, q->weight, bytes);
    assert_memory_equal(p->candidate, q->candidate, bytes);
    assert_memory_equal(p->gain, q->gain, bytes);
}

static beam_tensor hidden(const bench *b, void *data)
{
    beam_tensor t = b->layer.x;
    t.data = data;
    return t;
}

/* Route and experts as two calls, twice: threads the other way round the second time. */
static void compare_halves(bench *b, const void *whole)
{
    test_layer *l = &b->layer;
    beam_moe_pairs want = layer_new_pairs(l, false), p = layer_new_pairs(l, true);
    route_processor(b, &want);
    route_device(b, &p);
    beam_moe_pairs got = fetch_pairs(b, &p);
    assert_true(same_route(b, &got, &want));
    reverse(&b->lib, true);
    route_device(b, &p);
    beam_moe_pairs again = fetch_pairs(b, &p);
    assert_same_pairs(b, &again, &got);
    void *y = run_device(b, &l->gpu, 0, l->shape.tokens, &p);
    reverse(&b->lib, false);
    assert_memory_equal(y, whole, hidden_bytes(b, l->shape.tokens));
    free(y);
    layer_free_pairs(l, &want, false);
    layer_free_pairs(l, &got, false);
    layer_free_pairs(l, &again, false);
    layer_free_pairs(l, &p, true);
}

static void layer_is_the_processors(void **state)
{
    bench b;
    open_bench(&b, *state);
    const int64_t tokens = b.layer.shape.tokens;
    void *want = run_processor(&b), *got = run_device(&b, &b.layer.gpu, 0, tokens, NULL);
    const bool rounded = b.layer.shape.hidden_type == BEAM_MOE_BF16;
    assert_true(test_close("y", hidden(&b, got), hidden(&b, want), rounded ? 5e-3 : 1e-5, 1e-3));
    compare_halves(&b, got);
    for (int64_t t = 0; t<tokens; t += tokens> 100 ? 101 : 6) { /* one by one: the same bits */
        void *one = run_device(&b, &b.layer.gpu, t, 1, NULL);
        assert_memory_equal(one, (const char *)got + hidden_bytes(&b, t), hidden_bytes(&b, 1));
        free(one);
    }
    free(want);
    free(got);
    close_bench(&b);
}

static const layer_shape plain = {.name = "plain",
                                  .tokens = 11,
                                  .D = 40,
                                  .E = 9,
                                  .K = 4,
                                  .F = 24,
                                  .S = 16,
                                  .shared_gate = true,
                                  .scale = 1};

/* Numbers of [n] pairs on the device. */
static void set_ids(bench *b, const beam_moe_pairs *p, const int32_t *id)
{
    const int64_t n = b->layer.shape.tokens * b->layer.shape.K;
    beam_upload(&b->layer.be, beam_view(p->id, BEAM_I32, BEAM_DIMS(n)), id);
}

/* No pair kept: exactly the shared expert; weights of experts may then be anything. Ids that are no expert's
 * are dropped. */
static void all_dropped_tokens_read_no_expert(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, &plain);
    test_layer *l = &b.layer;
    enum { PAIRS = 11 * 4 };
    int32_t none[PAIRS], wrong[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        none[i] = -1;
        wrong[i] = i % 2 ? (int32_t)plain.E + i : -i - 1;
    }
    beam_moe m = l->gpu;
    void *nothing = layer_room(l, 1);
    m.gate_up.data = m.down.data = nothing; /* a read beyond it is an error under AddressSanitizer */
    beam_moe_pairs p = layer_new_pairs(l, true);
    set_ids(&b, &p, none);
    void *y = run_device(&b, &m, 0, plain.tokens, &p);
    set_ids(&b, &p, wrong);
    void *again = run_device(&b, &m, 0, plain.tokens, &p);
    assert_memory_equal(again, y, hidden_bytes(&b, plain.tokens));
    memset(again, 0, hidden_bytes(&b, plain.tokens));
    assert_false(memcmp(again, y, hidden_bytes(&b, plain.tokens)) == 0);
    for (int64_t i = 0; i < plain.tokens * plain.D; i++)
        assert_true(isfinite(((const float *)y)[i]));
    free(y);
    free(again);
    m.shared_size = 0;
    y = run_device(&b, &m, 0, plain.tokens, &p);
    for (int64_t i = 0; i < plain.tokens * plain.D; i++)
        assert_true(((const float *)y)[i] == 0);
    free(y);
    free(run_device(&b, &m, 0, 0, &p));
    free(run_device(&b, &m, 0, 0, NULL));
    beam_free(&l->be, nothing);
    layer_free_pairs(l, &p, true);
    close_bench(&b);
}

/* bf16 weights give the bits that the same numbers as floats give. */
static void bf16_is_exact(void **state)
{
    (void)state;
    bench b;
    layer_shape shape = plain;
    shape.weight_type = BEAM_MOE_BF16;
    open_bench(&b, &shape);
    test_layer *l = &b.layer;
    void *narrow = run_device(&b, &l->gpu, 0, shape.tokens, NULL);
    beam_moe_matrix *const matrices[] = {&l->gpu.router, &l->gpu.gate_up, &l->gpu.down};
    const int64_t counts[] = {shape.E * shape.D, shape.E * 2 * shape.F * shape.D,
                              shape.E * shape.D * shape.F};
    void *wide[3];
    for (int i = 0; i < 3; i++) {
        uint16_t *bits = fetch(&b, matrices[i]->data, (size_t)counts[i] * sizeof *bits);
        float *x = malloc((size_t)counts[i] * sizeof *x);
        assert_non_null(x);
        for (int64_t j = 0; j < counts[i]; j++)
            x[j] = beam_bf16_to_f32(bits[j]);
        wide[i] = layer_room(l, (size_t)counts[i] * sizeof *x);
        beam_upload(&l->be, beam_view(wide[i], BEAM_F32, BEAM_DIMS(counts[i])), x);
        *matrices[i] = (beam_moe_matrix){.data = wide[i], .type = BEAM_MOE_F32};
        free(bits);
        free(x);
    }
    void *floats = run_device(&b, &l->gpu, 0, shape.tokens, NULL);
    assert_memory_equal(narrow, floats, hidden_bytes(&b, shape.tokens));
    for (int i = 0; i < 3; i++)
        beam_free(&l->be, wide[i]);
    free(narrow);
    free(floats);
    close_bench(&b);
}

/* Hidden states that start at no vector's address: the same bits. */
static void addresses_do_not_matter(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, &plain);
    test_layer *l = &b.layer;
    const int64_t n = plain.tokens * plain.D;
    void *want = run_device(&b, &l->gpu, 0, plain.tokens, NULL);
    float *odd = layer_room(l, (size_t)(n + 1) * sizeof *odd);
    beam_upload(&l->be, beam_view(odd + 1, BEAM_F32, BEAM_DIMS(n)), l->x.data);
    void *const even = l->gpu_x.data;
    l->gpu_x.data = odd + 1;
    void *got = run_device(&b, &l->gpu, 0, plain.tokens, NULL);
    assert_memory_equal(got, want, hidden_bytes(&b, plain.tokens));
    l->gpu_x.data = even;
    beam_free(&l->be, odd);
    free(want);
    free(got);
    close_bench(&b);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    bench b;
    open_bench(&b, &plain);
    const test_layer *l = &b.layer;
    beam_moe m = l->gpu;
    m.experts = 1025;
    assert_int_equal(b.lib.check(&m), BEAM_MOE_ESHAPE);
    m.device = BEAM_MOE_CPU;
    assert_int_equal(b.lib.check(&m), BEAM_MOE_OK);
    m.device = 2;
    assert_int_equal(b.lib.check(&m), BEAM_MOE_EDEVICE);
    assert_int_equal(b.lib.workspace(&l->gpu, (1 << 20) + 1), 0);
    void *y = layer_room(&b.layer, hidden_bytes(&b, 1));
    assert_int_equal(b.lib.run(&l->gpu, l->gpu_x.data, y, plain.tokens, b.block, b.bytes - 1, b.stream),
                     BEAM_MOE_EWORKSPACE);
    assert_int_equal(b.lib.run(&l->gpu, l->gpu_x.data, NULL, 1, b.block, b.bytes, b.stream),
                     BEAM_MOE_EPOINTER);
    assert_true(strlen(b.lib.error(BEAM_MOE_ELAUNCH)) > 20);
    beam_free(&b.layer.be, y);
    close_bench(&b);
}

int main(void)
{
    struct CMUnitTest tests[LAYER_SHAPES + 4] = {
        cmocka_unit_test(all_dropped_tokens_read_no_expert),
        cmocka_unit_test(bf16_is_exact),
        cmocka_unit_test(addresses_do_not_matter),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    if (!available()) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    for (int i = 0; i < LAYER_SHAPES; i++)
        tests[4 + i] = (struct CMUnitTest){.name = layer_shapes(i)->name,
                                           .test_func = layer_is_the_processors,
                                           .initial_state = (void *)(uintptr_t)layer_shapes(i)};
    return cmocka_run_group_tests_name("decode.device", tests, NULL, NULL);
}
