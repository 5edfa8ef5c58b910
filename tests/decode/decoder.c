/* Decoding token by token gives what a forward pass over the whole sequences gives, in every family. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "decode/decoding.h"
#include "support/values.h"

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
    float *got = decoding_logits(t);
    int32_t *expert = decoding_experts(t), *wanted = decoding_experts(t);
    record r = {.expert = wanted, .layers = layers};
    beam_model_set_rule(t->m, rule);
    beam_model_observe(t->m, observe, &r);
    beam_model_forward(t->m, &t->f.batch, 0);
    beam_model_observe(t->m, NULL, NULL);
    float *want = hf_fixture_logits(t->m, &t->f.batch);
    beam_decoder *d = decoding_new(t, &t->weights, rule, sequences, sequences * step, &t->f.be);
    decoding_run(t, d, 0, sequences, step, got, expert);
    decoding_assert_close(t, got, want);
    assert_memory_equal(expert, wanted, decoding_expert_bytes(t));
    beam_decoder_close(d);
    free(got);
    free(want);
    free(expert);
    free(wanted);
}

static void decoding_is_the_forward_pass(void **state)
{
    decoding t;
    decoding_open(&t, *state, true);
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
    decoding_close(&t);
}

/* A sequence alone or beside others, token by token or in pieces, on one thread or three. */
static void bits_do_not_depend_on_company(void **state)
{
    decoding t;
    beam_backend be;
    decoding_open(&t, *state, true);
    hf_need(beam_backend_cpu(&be, 3));
    const beam_expert_rule rule = beam_decoder_rule(&t.f.config);
    const int64_t sequences = t.f.batch.sequences;
    float *all = decoding_logits(&t), *one = decoding_logits(&t);
    beam_decoder *d = decoding_new(&t, &t.weights, rule, sequences, sequences, &t.f.be);
    decoding_run(&t, d, 0, sequences, 1, all, NULL);
    beam_decoder_close(d);
    for (int64_t step = 1; step <= 5; step += 2) {
        d = decoding_new(&t, &t.weights, rule, 1, step, step == 3 ? &be : &t.f.be);
        for (int64_t s = 0; s < sequences; s++)
            decoding_run(&t, d, s, 1, step, one, NULL);
        assert_memory_equal(one, all, decoding_logit_bytes(&t));
        beam_decoder_close(d);
    }
    free(all);
    free(one);
    decoding_close(&t);
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
    decoding_open(&t, *state, true);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        fill_gates(&t, parts[i], 0);
    const int64_t sequences = t.f.batch.sequences;
    float *masked = decoding_logits(&t), *base = decoding_logits(&t);
    beam_expert_rule rule = beam_decoder_rule(&t.f.config);
    beam_decoder *d = decoding_new(&t, &t.weights, rule, sequences, sequences, &t.f.be);
    decoding_run(&t, d, 0, sequences, 1, masked, NULL);
    beam_decoder_take_costs(d);
    rule.masks = false;
    beam_decoder_set_rule(d, rule);
    decoding_run(&t, d, 0, sequences, 1, base, NULL);
    assert_memory_equal(masked, base, decoding_logit_bytes(&t));
    const int64_t pairs = t.f.batch.tokens * beam_moe_layers(&t.f.config) * t.f.config.top_k;
    const beam_decoder_costs open = beam_decoder_take_costs(d);
    assert_int_equal(open.kept, pairs);
    fill_gates(&t, "mask_gate.bias", -100);
    rule.masks = true;
    beam_decoder_set_rule(d, rule);
    decoding_run(&t, d, 0, sequences, 1, masked, NULL);
    const beam_decoder_costs closed = beam_decoder_take_costs(d);
    assert_int_equal(closed.kept, 0);
    assert_int_equal(closed.distinct, 0);
    assert_true(closed.moe_bytes < open.moe_bytes);
    compare_with_model(&t, rule, 1);
    beam_decoder_close(d);
    free(masked);
    free(base);
    decoding_close(&t);
}

/* Weights read from the folder decode as those of a model that was opened from it. */
static void loads_weights_as_stored(void **state)
{
    decoding t;
    beam_model_weights stored;
    decoding_open(&t, *state, false);
    hf_need(beam_decoder_weights_load(&stored, &t.f.config, t.f.folder, NULL, &t.f.be));
    for (int i = 0; i < stored.params.n; i++) {
        const beam_tensor a = stored.params.at[i].value, b = t.weights.params.at[i].value;
        assert_true(beam_same_shape(a, b));
        for (int64_t j = 0; j < beam_count(a); j++)
            assert_true(test_get(a, j) == test_get(b, j));
    }
    beam_model_weights_free(&stored, &t.f.be);
    decoding_close(&t);
}

/* The example model is stored in bf16: its matrices stay so, and give what their floats give. */
static void bf16_stays_bf16(void **state)
{
    decoding t;
    beam_backend be;
    (void)state;
    hf_need(beam_backend_cpu(&be, 2));
    decoding_open_example(&t, &be);
    for (int i = 0; i < t.weights.params.n; i++) {
        const beam_tensor value = t.weights.params.at[i].value;
        assert_int_equal(value.dtype, value.ndim > 1 ? BEAM_BF16 : BEAM_F32);
    }
    decoding_check_example(&t, &be, 7);
    decoding_close_example(&t, &be);
    beam_backend_close(&be);
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
