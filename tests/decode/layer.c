/* serve/beam_moe.h as an engine uses it, through dlopen, against the model's own mixture layer. */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bf16.h"
#include "decode/library.h"
#include "model/hf_fixture.h"
#include "model/moe.h"
#include "serve/decoder.h"
#include "support/values.h"

enum { TOKENS = 37 };

static void open_library(library *l)
{
    library_open(l, BEAM_MOE_LIBRARY);
    assert_null(dlsym(l->handle, "beam_moe_route_f32")); /* what the header does not declare stays inside */
    assert_null(dlsym(l->handle, "beam_thin_dots"));
}

/* A mixture layer of a variant, with masks of every part, as model and as description. */
typedef struct {
    hf_fixture f;
    beam_model *m;
    beam_model_weights weights;
    const beam_mlp_weights *layer;
    int64_t width; /* D */
    float *x;      /* [TOKENS,D] */
    library lib;
} engine;

static void open_engine(engine *e, const char *variant)
{
    hf_fixture_open(&e->f, variant, 2);
    hf_fixture_masks(&e->f, true);
    e->m = hf_fixture_model(&e->f, BEAM_SCOPE_NONE, false);
    hf_need(beam_decoder_weights_borrow(&e->weights, e->m));
    int i = 0;
    while (!e->f.config.moe_layer[i])
        i++;
    e->layer = &e->weights.layer[i].mlp;
    e->width = e->f.config.hidden_size;
    e->x = malloc((size_t)(TOKENS * e->width) * sizeof *e->x);
    assert_non_null(e->x);
    test_fill_normal(beam_view(e->x, BEAM_F32, BEAM_DIMS(TOKENS, e->width)), "hidden states", 1);
    open_library(&e->lib);
}

static void close_engine(engine *e)
{
    dlclose(e->lib.handle);
    free(e->x);
    beam_model_weights_unlist(&e->weights);
    beam_model_close(e->m);
    hf_fixture_close(&e->f);
}

static void *new_memory(size_t bytes)
{
    void *p = malloc(bytes);
    assert_non_null(p);
    memset(p, 0xff, bytes); /* reads as NaN */
    return p;
}

static size_t hidden_bytes(const engine *e, int64_t tokens)
{
    return (size_t)(tokens * e->width) * sizeof(float);
}

/* The layer by the model: y[TOKENS,D], and the route it took, whose tensors live in *block. */
static beam_route run_model(engine *e, beam_expert_rule rule, float *y, void **block)
{
    const beam_model_config *c = &e->f.config;
    enum { ROOM = 32 << 20 };
    uint8_t counted[TOKENS];
    beam_moe_saved saved;
    *block = beam_alloc(&e->f.be, ROOM, "a test");
    assert_non_null(*block);
    memset(counted, 1, sizeof counted);
    memset(y, 0, hidden_bytes(e, TOKENS));
    beam_arena a = beam_arena_over(*block, ROOM);
    beam_moe_layout(&saved, c, BEAM_F32, TOKENS, &a);
    const beam_pass p = {.be = &e->f.be,
                         .config = c,
                         .rule = rule,
                         .scratch = &a,
                         .counted = beam_view(counted, BEAM_U8, BEAM_DIMS(TOKENS))};
    beam_moe_forward(&p, e->layer, &saved, beam_view(e->x, BEAM_F32, BEAM_DIMS(TOKENS, e->width)),
                     beam_view(y, BEAM_F32, BEAM_DIMS(TOKENS, e->width)), 0);
    return saved.route;
}

static void assert_close(const engine *e, const float *got, const float *want, double tolerance)
{
    double largest = 0;
    for (int64_t i = 0; i < TOKENS * e->width; i++)
        largest = fmax(largest, fabs((double)want[i]));
    for (int64_t i = 0; i < TOKENS * e->width; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * (largest + 1e-3)))
            fail_msg("%s: element %lld is %g, not %g", e->f.variant, (long long)i, (double)got[i],
                     (double)want[i]);
}

/* A workspace whose start is aligned to nothing. */
typedef struct {
    char *block;
    void *at;
    size_t bytes;
} workspace;

static workspace new_workspace(const engine *e, const beam_moe *m, int64_t tokens)
{
    workspace w = {.bytes = e->lib.workspace(m, tokens)};
    assert_true(w.bytes > 0);
    w.block = new_memory(w.bytes + 1);
    w.at = w.block + 1;
    return w;
}

static void compare(engine *e, beam_expert_rule rule)
{
    const int64_t slots = TOKENS * e->f.config.top_k;
    const beam_moe m = beam_moe_of(&e->f.config, e->layer, rule, 2);
    float *want = new_memory(hidden_bytes(e, TOKENS)), *got = new_memory(hidden_bytes(e, TOKENS));
    workspace w = new_workspace(e, &m, TOKENS);
    void *block;
    const beam_route route = run_model(e, rule, want, &block);
    assert_int_equal(e->lib.run(&m, e->x, got, TOKENS, w.at, w.bytes, NULL), BEAM_MOE_OK);
    assert_close(e, got, want, 1e-5);

    beam_moe_pairs p = {.id = new_memory((size_t)slots * 4),
                        .weight = new_memory((size_t)slots * 4),
                        .candidate = new_memory((size_t)slots * 4),
                        .gain = new_memory((size_t)slots * 4)};
    assert_int_equal(e->lib.route(&m, e->x, TOKENS, &p, w.at, w.bytes, NULL), BEAM_MOE_OK);
    for (int64_t i = 0; i < slots; i++) {
        const bool kept = ((const uint8_t *)route.keep.data)[i];
        const int32_t expert = ((const int32_t *)route.expert.data)[i];
        const double weight = (double)((const float *)route.weight.data)[i];
        assert_int_equal(p.candidate[i], expert);
        assert_int_equal(p.id[i], kept ? expert : -1);
        assert_true(fabs((double)p.weight[i] - (kept ? weight : 0)) <= 1e-5);
    }
    float *halves = new_memory(hidden_bytes(e, TOKENS));
    assert_int_equal(e->lib.experts(&m, e->x, halves, TOKENS, &p, w.at, w.bytes, NULL), BEAM_MOE_OK);
    assert_memory_equal(halves, got, hidden_bytes(e, TOKENS));
    for (int64_t t = 0; t < TOKENS; t += 5) { /* one by one: the same bits */
        float *one = halves;
        assert_int_equal(e->lib.run(&m, e->x + t * e->width, one, 1, w.at, w.bytes, NULL), BEAM_MOE_OK);
        assert_memory_equal(one, got + t * e->width, hidden_bytes(e, 1));
    }
    free(p.id);
    free(p.weight);
    free(p.candidate);
    free(p.gain);
    free(halves);
    free(want);
    free(got);
    free(w.block);
    beam_free(&e->f.be, block);
}

static void layer_is_the_models(void **state)
{
    engine e;
    open_engine(&e, *state);
    beam_expert_rule rule = beam_decoder_rule(&e.f.config);
    compare(&e, rule);
    rule.masks = false;
    compare(&e, rule);
    for (int keep = 1; keep <= (int)e.f.config.top_k; keep++)
        for (int anchor = 0; anchor <= (int)e.f.config.top_k; anchor++) {
            rule.prune = (beam_prune_rule){.keep = keep, .share = 1, .anchor = anchor};
            compare(&e, rule);
        }
    rule.prune = (beam_prune_rule){.keep = (int)e.f.config.top_k, .share = 0.6, .anchor = 0};
    compare(&e, rule);
    close_engine(&e);
}

/* No pair kept: exactly the shared expert, or zeros; weights of experts may then be anything. */
static void all_dropped_tokens_read_no_expert(void **state)
{
    engine e;
    open_engine(&e, *state);
    const beam_model_config *c = &e.f.config;
    const int64_t slots = TOKENS * c->top_k;
    beam_expert_rule rule = beam_decoder_rule(c);
    rule.masks = false;
    beam_moe m = beam_moe_of(c, e.layer, rule, 2);
    m.gate_up.data = m.down.data = &m; /* a read beyond it is an error under AddressSanitizer */
    workspace w = new_workspace(&e, &m, TOKENS);
    int32_t *id = new_memory((size_t)slots * sizeof *id); /* all -1 */
    float *weight = new_memory((size_t)slots * sizeof *weight);
    float *y = new_memory(hidden_bytes(&e, TOKENS));
    const beam_moe_pairs p = {.id = id, .weight = weight};
    assert_int_equal(e.lib.experts(&m, e.x, y, TOKENS, &p, w.at, w.bytes, NULL), BEAM_MOE_OK);
    double largest = 0;
    for (int64_t i = 0; i < TOKENS * e.width; i++)
        largest = fmax(largest, fabs((double)y[i]));
    assert_true(c->shared_size > 0 ? largest > 0 && isfinite(largest) : largest == 0);
    assert_int_equal(e.lib.experts(&m, e.x, y, 0, &p, w.at, w.bytes, NULL), BEAM_MOE_OK);
    free(id);
    free(weight);
    free(y);
    free(w.block);
    close_engine(&e);
}

static uint16_t *rounded(const float *x, int64_t n)
{
    uint16_t *bits = new_memory((size_t)n * sizeof *bits);
    for (int64_t i = 0; i < n; i++)
        bits[i] = beam_f32_to_bf16(x[i]);
    return bits;
}

static void round_in_place(beam_tensor t)
{
    float *x = t.data;
    for (int64_t i = 0; i < beam_count(t); i++)
        x[i] = beam_bf16_to_f32(beam_f32_to_bf16(x[i]));
}

/* bf16 weights give the bits that the same numbers as floats give; bf16 hidden states those of their floats,
 * rounded. */
static void bf16_is_exact(void **state)
{
    engine e;
    open_engine(&e, *state);
    const beam_param *const stacked[] = {e.layer->gate_up, e.layer->down, e.layer->router};
    for (size_t i = 0; i < 3; i++)
        round_in_place(stacked[i]->value);
    round_in_place(beam_view(e.x, BEAM_F32, BEAM_DIMS(TOKENS * e.width)));
    beam_moe m = beam_moe_of(&e.f.config, e.layer, beam_decoder_rule(&e.f.config), 1);
    workspace w = new_workspace(&e, &m, TOKENS);
    float *wide = new_memory(hidden_bytes(&e, TOKENS)), *narrow = new_memory(hidden_bytes(&e, TOKENS));
    assert_int_equal(e.lib.run(&m, e.x, wide, TOKENS, w.at, w.bytes, NULL), BEAM_MOE_OK);
    uint16_t *bits[3];
    beam_moe_matrix *const to[] = {&m.gate_up, &m.down, &m.router};
    for (size_t i = 0; i < 3; i++) {
        bits[i] = rounded(stacked[i]->value.data, beam_count(stacked[i]->value));
        *to[i] = (beam_moe_matrix){.data = bits[i], .type = BEAM_MOE_BF16};
    }
    assert_int_equal(e.lib.run(&m, e.x, narrow, TOKENS, w.at, w.bytes, NULL), BEAM_MOE_OK);
    assert_memory_equal(narrow, wide, hidden_bytes(&e, TOKENS));

    m.hidden_type = BEAM_MOE_BF16;
    free(w.block);
    w = new_workspace(&e, &m, TOKENS);
    uint16_t *x = rounded(e.x, TOKENS * e.width), *want = rounded(wide, TOKENS * e.width);
    uint16_t *y = new_memory((size_t)(TOKENS * e.width) * sizeof *y);
    assert_int_equal(e.lib.run(&m, x, y, TOKENS, w.at, w.bytes, NULL), BEAM_MOE_OK);
    assert_memory_equal(y, want, (size_t)(TOKENS * e.width) * sizeof *y);
    for (size_t i = 0; i < 3; i++)
        free(bits[i]);
    free(x);
    free(y);
    free(want);
    free(wide);
    free(narrow);
    free(w.block);
    close_engine(&e);
}

static void packs_gate_and_up(void **state)
{
    enum { F = 21, D = 3 };
    float gate[F * D], up[F * D], packed[2 * F * D];
    library lib;
    (void)state;
    open_library(&lib);
    for (int i = 0; i < F * D; i++) {
        gate[i] = (float)i;
        up[i] = (float)(1000 + i);
    }
    assert_int_equal(lib.pack(packed, gate, up, F, D, BEAM_MOE_F32), BEAM_MOE_OK);
    for (int f = 0; f < F; f++) {
        assert_memory_equal(packed + beam_interleave_row(f, 0, F) * D, gate + f * D, D * sizeof(float));
        assert_memory_equal(packed + beam_interleave_row(f, 1, F) * D, up + f * D, D * sizeof(float));
    }
    assert_int_equal(lib.pack(packed, gate, NULL, F, D, BEAM_MOE_F32), BEAM_MOE_EPOINTER);
    assert_int_equal(lib.pack(packed, gate, up, 0, D, BEAM_MOE_F32), BEAM_MOE_ESHAPE);
    assert_int_equal(lib.pack(packed, gate, up, F, D, 7), BEAM_MOE_ETYPE);
    dlclose(lib.handle);
}

/* Every way to be wrong has its number, and nothing is written. */
static void refuses_wrong_descriptions(void **state)
{
    engine e;
    open_engine(&e, *state);
    const beam_moe good = beam_moe_of(&e.f.config, e.layer, beam_decoder_rule(&e.f.config), 1);
    beam_moe m = good;
    workspace w = new_workspace(&e, &good, TOKENS);
    float *y = new_memory(hidden_bytes(&e, TOKENS));
    assert_int_equal(e.lib.check(&good), BEAM_MOE_OK);
    assert_int_equal(e.lib.check(NULL), BEAM_MOE_EPOINTER);
#define REFUSED(change, code)                                                                                \
    do {                                                                                                     \
        m = good;                                                                                            \
        change;                                                                                              \
        assert_int_equal(e.lib.check(&m), code);                                                             \
        assert_int_equal(e.lib.run(&m, e.x, y, 1, w.at, w.bytes, NULL), code);                               \
        assert_int_equal(e.lib.workspace(&m, 1), 0);                                                         \
        assert_true(strlen(e.lib.error(code)) > 10);                                                         \
    } while (0)
    REFUSED(m.size--, BEAM_MOE_EABI);
    REFUSED(m.abi++, BEAM_MOE_EABI);
    REFUSED(m.device = 2, BEAM_MOE_EDEVICE);
    REFUSED(m.null_experts = 1, BEAM_MOE_ESHAPE); /* with masks */
    REFUSED(m.hidden_size = 0, BEAM_MOE_ESHAPE);
    REFUSED(m.experts = INT64_MAX, BEAM_MOE_ESHAPE);
    REFUSED(m.top_k = m.experts + 1, BEAM_MOE_ESHAPE);
    REFUSED(m.groups = (int32_t)m.experts + 1, BEAM_MOE_ESHAPE);
    REFUSED(m.threshold = 1, BEAM_MOE_ESHAPE);
    REFUSED(m.threshold = NAN, BEAM_MOE_ESHAPE);
    REFUSED(m.scale = -1, BEAM_MOE_ESHAPE);
    REFUSED(m.keep = (int32_t)m.top_k + 1, BEAM_MOE_ESHAPE);
    REFUSED(m.router.data = NULL, BEAM_MOE_EPOINTER);
    REFUSED(m.down.type = 2, BEAM_MOE_ETYPE);
    REFUSED(m.hidden_type = -1, BEAM_MOE_ETYPE);
    REFUSED((m.shared_size = 4, m.shared_down.data = NULL), BEAM_MOE_EPOINTER);
#undef REFUSED
    assert_int_equal(e.lib.run(&good, e.x, y, TOKENS, w.at, w.bytes - 1, NULL), BEAM_MOE_EWORKSPACE);
    assert_int_equal(e.lib.run(&good, e.x, y, TOKENS, NULL, w.bytes, NULL), BEAM_MOE_EPOINTER);
    assert_int_equal(e.lib.run(&good, NULL, y, TOKENS, w.at, w.bytes, NULL), BEAM_MOE_EPOINTER);
    assert_int_equal(e.lib.run(&good, e.x, y, -1, w.at, w.bytes, NULL), BEAM_MOE_ESHAPE);
    int32_t id[64] = {0}, candidate[64] = {0};
    float weight[64] = {0}, gain[64] = {0};
    beam_moe_pairs p = {.id = id, .weight = weight, .candidate = candidate, .gain = gain};
    id[1] = (int32_t)good.experts;
    assert_int_equal(e.lib.experts(&good, e.x, y, 1, &p, w.at, w.bytes, NULL), BEAM_MOE_EID);
    id[1] = -2;
    assert_int_equal(e.lib.experts(&good, e.x, y, 1, &p, w.at, w.bytes, NULL), BEAM_MOE_EID);
    id[1] = -1;
    p.gain = NULL; /* needed, because dropped experts give back */
    assert_int_equal(e.lib.experts(&good, e.x, y, 1, &p, w.at, w.bytes, NULL), BEAM_MOE_EPOINTER);
    for (int64_t i = 0; i < TOKENS * e.width; i++)
        assert_true(isnan(y[i]));
    free(y);
    free(w.block);
    close_engine(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(layer_is_the_models),
        HF_TEST_VARIANTS(all_dropped_tokens_read_no_expert),
        HF_TEST_VARIANTS(bf16_is_exact),
        cmocka_unit_test(packs_gate_and_up),
        HF_TEST(refuses_wrong_descriptions, "qwen3_moe"),
        HF_TEST(refuses_wrong_descriptions, "deepseek_v2_groups"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
