/* Decoding token by token gives what a forward pass over the whole sequences gives, in every family. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/families/families.h"
#include "model/hf_fixture.h"
#include "model/load.h"
#include "serve/decoder.h"
#include "support/values.h"

/* Of logits whose size is a few units: float32 with another order of sums. */
static const double tolerance = 2e-5;

typedef struct {
    hf_fixture f;
    beam_model *m;
    beam_model_weights weights;
    int64_t length; /* of every sequence */
} decoding;

static void open_decoding(decoding *t, const char *variant, bool masks)
{
    hf_fixture_open(&t->f, variant, 2);
    if (masks)
        hf_fixture_masks(&t->f, true);
    t->m = hf_fixture_model(&t->f, BEAM_SCOPE_NONE, false);
    hf_need(beam_decoder_weights_borrow(&t->weights, t->m));
    t->length = t->f.batch.tokens / t->f.batch.sequences;
}

static void close_decoding(decoding *t)
{
    beam_model_weights_unlist(&t->weights);
    beam_model_close(t->m);
    hf_fixture_close(&t->f);
}

static size_t logit_bytes(const decoding *t)
{
    return (size_t)(t->f.batch.tokens * t->f.config.vocab_size) * sizeof(float);
}

static beam_decoder *new_decoder(decoding *t, beam_expert_rule rule, int64_t sequences, int64_t chunk,
                                 beam_backend *be)
{
    beam_decoder *d;
    const beam_decoder_options options = {
        .sequences = sequences, .context = t->length, .chunk = chunk, .logits = chunk};
    hf_need(beam_decoder_open(&d, &t->f.config, &t->weights, rule, &options, be));
    return d;
}

/* Sequences [first, first + n) side by side, `step` tokens of each at a time; their logits and experts where
 * the batch has them. `expert` may be NULL. */
static void decode(decoding *t, beam_decoder *d, int64_t first, int64_t n, int64_t step, float *logits,
                   int32_t *expert)
{
    const beam_model_config *c = &t->f.config;
    const int64_t k = c->top_k, layers = beam_moe_layers(c), vocab = c->vocab_size;
    for (int64_t at = 0; at < t->length; at += step) {
        beam_decoder_token token[64];
        int64_t tokens = 0;
        for (int64_t s = 0; s < n; s++)
            for (int64_t i = at; i < at + step && i < t->length; i++)
                token[tokens++] = (beam_decoder_token){.id = t->f.batch.id[(first + s) * t->length + i],
                                                       .sequence = (int32_t)s,
                                                       .position = (int32_t)i,
                                                       .wants_logits = true};
        hf_need(beam_decoder_step(d, token, tokens));
        for (int64_t i = 0; i < tokens; i++) {
            const int64_t to = (first + token[i].sequence) * t->length + token[i].position;
            memcpy(logits + to * vocab, beam_decoder_logits(d, i), (size_t)vocab * sizeof *logits);
            for (int64_t l = 0; expert && l < layers; l++)
                memcpy(expert + (to * layers + l) * k, beam_decoder_experts(d, l, i),
                       (size_t)k * sizeof *expert);
        }
    }
}

static float *new_logits(const decoding *t)
{
    float *x = malloc(logit_bytes(t));
    assert_non_null(x);
    return x;
}

static int64_t most_likely(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static void assert_close(const decoding *t, const float *got, const float *want)
{
    const int64_t vocab = t->f.config.vocab_size;
    for (int64_t i = 0; i < t->f.batch.tokens; i++) {
        for (int64_t v = 0; v < vocab; v++) {
            const double a = (double)got[i * vocab + v], b = (double)want[i * vocab + v];
            if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
                fail_msg("%s: token %lld, logit %lld: %g, not %g", t->f.variant, (long long)i, (long long)v,
                         a, b);
        }
        assert_int_equal(most_likely(got + i * vocab, vocab), most_likely(want + i * vocab, vocab));
    }
}

/* What ran in each layer, of the model's forward pass: [T, layers, K], dropped candidates -1. */
typedef struct {
    int32_t *expert;
    int64_t layers;
} record;

static void observe(void *context, const beam_moe_seen *seen)
{
    record *r = context;
    const int32_t *expert = seen->route->expert.data;
    const uint8_t *keep = seen->route->keep.data;
    const int64_t tokens = seen->route->expert.dim[0], k = seen->route->expert.dim[1];
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < k; i++)
            r->expert[(t * r->layers + seen->layer) * k + i] = keep[t * k + i] ? expert[t * k + i] : -1;
}

static void compare_with_model(decoding *t, beam_expert_rule rule, int64_t step)
{
    const beam_model_config *c = &t->f.config;
    const int64_t layers = beam_moe_layers(c), sequences = t->f.batch.sequences;
    const size_t slots = (size_t)(t->f.batch.tokens * layers * c->top_k);
    float *got = new_logits(t);
    int32_t *expert = calloc(slots, sizeof *expert), *wanted = calloc(slots, sizeof *wanted);
    assert_true(expert && wanted);
    record r = {.expert = wanted, .layers = layers};
    beam_model_set_rule(t->m, rule);
    beam_model_observe(t->m, observe, &r);
    beam_model_forward(t->m, &t->f.batch, 0);
    beam_model_observe(t->m, NULL, NULL);
    float *want = hf_fixture_logits(t->m, &t->f.batch);
    beam_decoder *d = new_decoder(t, rule, sequences, sequences * step, &t->f.be);
    decode(t, d, 0, sequences, step, got, expert);
    assert_close(t, got, want);
    assert_memory_equal(expert, wanted, slots * sizeof *expert);
    beam_decoder_close(d);
    free(got);
    free(want);
    free(expert);
    free(wanted);
}

static void decoding_is_the_forward_pass(void **state)
{
    decoding t;
    open_decoding(&t, *state, true);
    beam_expert_rule rule = beam_decoder_rule(&t.f.config);
    compare_with_model(&t, rule, 1);
    compare_with_model(&t, rule, 3);
    rule.masks = false;
    compare_with_model(&t, rule, 1);
    for (int anchor = 0; anchor <= (int)t.f.config.top_k; anchor++) {
        rule.prune = (beam_prune_rule){.keep = 1, .share = 1, .anchor = anchor};
        compare_with_model(&t, rule, 2);
    }
    rule.prune = (beam_prune_rule){.keep = (int)t.f.config.top_k, .share = 0.7, .anchor = 1};
    compare_with_model(&t, rule, 1);
    close_decoding(&t);
}

/* A sequence alone or beside others, token by token or in pieces, on one thread or three. */
static void bits_do_not_depend_on_company(void **state)
{
    decoding t;
    beam_backend be;
    open_decoding(&t, *state, true);
    hf_need(beam_backend_cpu(&be, 3));
    const beam_expert_rule rule = beam_decoder_rule(&t.f.config);
    const int64_t sequences = t.f.batch.sequences;
    float *all = new_logits(&t), *one = new_logits(&t);
    beam_decoder *d = new_decoder(&t, rule, sequences, sequences, &t.f.be);
    decode(&t, d, 0, sequences, 1, all, NULL);
    beam_decoder_close(d);
    for (int64_t step = 1; step <= 5; step += 2) {
        d = new_decoder(&t, rule, 1, step, step == 3 ? &be : &t.f.be);
        for (int64_t s = 0; s < sequences; s++)
            decode(&t, d, s, 1, step, one, NULL);
        assert_memory_equal(one, all, logit_bytes(&t));
        beam_decoder_close(d);
    }
    free(all);
    free(one);
    close_decoding(&t);
    beam_backend_close(&be);
}

static void fill_gates(decoding *t, const char *part, double value)
{
    const beam_params params = beam_model_params(t->m);
    for (int i = 0; i < params.n; i++)
        if (strstr(params.at[i].name, part))
            test_fill(params.at[i].value, value);
}

/* Gates of zeros are the base model; closed gates run no expert. */
static void zero_and_closed_gates(void **state)
{
    static const char *const parts[] = {"mask_gate.weight", "mask_gate.bias", "router_scale", "rank_bias"};
    decoding t;
    open_decoding(&t, *state, true);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        fill_gates(&t, parts[i], 0);
    const int64_t sequences = t.f.batch.sequences;
    float *masked = new_logits(&t), *base = new_logits(&t);
    beam_expert_rule rule = beam_decoder_rule(&t.f.config);
    beam_decoder *d = new_decoder(&t, rule, sequences, sequences, &t.f.be);
    decode(&t, d, 0, sequences, 1, masked, NULL);
    beam_decoder_take_costs(d);
    rule.masks = false;
    beam_decoder_set_rule(d, rule);
    decode(&t, d, 0, sequences, 1, base, NULL);
    assert_memory_equal(masked, base, logit_bytes(&t));
    const int64_t pairs = t.f.batch.tokens * beam_moe_layers(&t.f.config) * t.f.config.top_k;
    const beam_decoder_costs open = beam_decoder_take_costs(d);
    assert_int_equal(open.kept, pairs);
    fill_gates(&t, "mask_gate.bias", -100);
    rule.masks = true;
    beam_decoder_set_rule(d, rule);
    decode(&t, d, 0, sequences, 1, masked, NULL);
    const beam_decoder_costs closed = beam_decoder_take_costs(d);
    assert_int_equal(closed.kept, 0);
    assert_int_equal(closed.distinct, 0);
    assert_true(closed.moe_bytes < open.moe_bytes);
    compare_with_model(&t, rule, 1);
    beam_decoder_close(d);
    free(masked);
    free(base);
    close_decoding(&t);
}

/* Weights read from the folder decode as those of a model that was opened from it. */
static void loads_weights_as_stored(void **state)
{
    decoding t;
    beam_model_weights stored;
    open_decoding(&t, *state, false);
    hf_need(beam_decoder_weights_load(&stored, &t.f.config, t.f.folder, NULL, &t.f.be));
    for (int i = 0; i < stored.params.n; i++) {
        const beam_tensor a = stored.params.at[i].value, b = t.weights.params.at[i].value;
        assert_true(beam_same_shape(a, b));
        for (int64_t j = 0; j < beam_count(a); j++)
            assert_true(test_get(a, j) == test_get(b, j));
    }
    beam_model_weights_free(&stored, &t.f.be);
    close_decoding(&t);
}

/* The example model is stored in bf16: its matrices stay so, and give what their floats give. */
static void bf16_stays_bf16(void **state)
{
    enum { TOKENS = 40 };
    decoding t = {.length = TOKENS};
    (void)state;
    hf_need(beam_backend_cpu(&t.f.be, 2));
    hf_need(beam_model_config_read(BEAM_EXAMPLE_FOLDER "/config.json", &t.f.config));
    t.f.variant = "tiny-moe";
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = TOKENS};
    hf_need(beam_model_open(&t.m, &t.f.config, &options, &t.f.be));
    hf_need(beam_model_load(t.m, BEAM_EXAMPLE_FOLDER, false));
    hf_need(beam_batch_alloc(&t.f.batch, TOKENS));
    t.f.batch.sequences = 1;
    t.f.batch.first[1] = TOKENS;
    for (int i = 0; i < TOKENS; i++) {
        t.f.batch.id[i] = "It was the best of times, it was the worst"[i];
        t.f.batch.target[i] = -1;
        t.f.batch.position[i] = i;
        t.f.batch.counted[i] = 1;
    }
    hf_need(beam_decoder_weights_load(&t.weights, &t.f.config, BEAM_EXAMPLE_FOLDER, NULL, &t.f.be));
    for (int i = 0; i < t.weights.params.n; i++) {
        const beam_tensor value = t.weights.params.at[i].value;
        assert_int_equal(value.dtype, value.ndim > 1 ? BEAM_BF16 : BEAM_F32);
    }
    beam_model_forward(t.m, &t.f.batch, 0);
    float *want = hf_fixture_logits(t.m, &t.f.batch), *got = new_logits(&t);
    beam_decoder *d = new_decoder(&t, beam_decoder_rule(&t.f.config), 1, 7, &t.f.be);
    decode(&t, d, 0, 1, 7, got, NULL);
    assert_close(&t, got, want);
    beam_decoder_close(d);
    free(want);
    free(got);
    beam_model_weights_free(&t.weights, &t.f.be);
    beam_model_close(t.m);
    beam_batch_free(&t.f.batch);
    beam_backend_close(&t.f.be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(decoding_is_the_forward_pass),
        HF_TEST_VARIANTS(bits_do_not_depend_on_company),
        HF_TEST_VARIANTS(zero_and_closed_gates),
        HF_TEST_VARIANTS(loads_weights_as_stored),
        cmocka_unit_test(bf16_stays_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
