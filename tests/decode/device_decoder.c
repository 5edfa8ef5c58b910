/* Whole models decoded on a device against the processor: the same logits within rounding, the same experts,
 * and on the device the same bits whatever else is in a step. Built twice: as decode.decoder_simt over the
 * simulated device, and as decode.decoder_cuda for a GPU (skipped where there is none). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "decode/decoding.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"
#include "kernels/decode/ops.h"
#include "serve/decode_bench.h"
#include "serve/generate.h"

enum { LENGTH = 10 }; /* of each sequence */

typedef struct {
    decoding t; /* on the processor */
    beam_backend be;
    beam_ops ops;               /* its own, but that it counts replays */
    beam_decode_ops decode;     /* part of them */
    beam_model_weights weights; /* on the device */
} pair;

static int replays;
static void (*device_replay)(beam_backend *be, void *recording);

static void count_replay(beam_backend *be, void *recording)
{
    replays++;
    device_replay(be, recording);
}

static void open_pair(pair *p, const char *variant)
{
    decoding_open(&p->t, variant, true);
    p->t.length = LENGTH; /* simulated devices are slow */
    p->t.f.batch.tokens = p->t.f.batch.sequences * LENGTH;
    hf_need(beam_backend_cuda(&p->be, 0, BEAM_F32));
    replays = 0;
    p->ops = *p->be.ops;
    p->decode = *p->ops.decode;
    device_replay = p->decode.replay;
    p->decode.replay = count_replay;
    p->ops.decode = &p->decode;
    p->be.ops = &p->ops;
    hf_need(beam_model_weights_list(&p->weights, &p->t.f.config, BEAM_SCOPE_NONE, BEAM_F32));
    hf_need(beam_model_weights_place(&p->weights, &p->be));
    for (int i = 0; i < p->weights.params.n; i++)
        beam_upload(&p->be, p->weights.params.at[i].value, p->t.weights.params.at[i].value.data);
    hf_need(beam_sync(&p->be));
}

static void close_pair(pair *p)
{
    beam_model_weights_free(&p->weights, &p->be);
    beam_backend_close(&p->be);
    decoding_close(&p->t);
}

/* All sequences side by side, `step` tokens at a time, here and there. */
static void compare(pair *p, beam_expert_rule rule, int64_t step)
{
    decoding *t = &p->t;
    const int64_t sequences = t->f.batch.sequences;
    float *got = decoding_logits(t), *want = decoding_logits(t);
    int32_t *expert = decoding_experts(t), *wanted = decoding_experts(t);
    beam_decoder *here = decoding_new(t, &t->weights, rule, sequences, sequences * step, &t->f.be);
    beam_decoder *there = decoding_new(t, &p->weights, rule, sequences, sequences * step, &p->be);
    decoding_run(t, here, 0, sequences, step, want, wanted);
    decoding_run(t, there, 0, sequences, step, got, expert);
    decoding_assert_close(t, got, want);
    assert_memory_equal(expert, wanted, decoding_expert_bytes(t));
    const beam_decoder_costs a = beam_decoder_take_costs(here), b = beam_decoder_take_costs(there);
    assert_int_equal(a.kept, b.kept);
    assert_int_equal(a.distinct, b.distinct);
    assert_true(a.bytes == b.bytes && a.moe_bytes == b.moe_bytes);
    beam_decoder_close(here);
    beam_decoder_close(there);
    free(got);
    free(want);
    free(expert);
    free(wanted);
}

static void device_is_the_processor(void **state)
{
    pair p;
    open_pair(&p, *state);
    beam_expert_rule rule = beam_decoder_rule(&p.t.f.config);
    compare(&p, rule, 1);
    compare(&p, rule, 3);
    rule.masks = false;
    rule.prune = (beam_prune_rule){.keep = 1, .share = 1, .anchor = 1};
    compare(&p, rule, 1);
    close_pair(&p);
}

/* Side by side with recorded steps, alone with recorded ones, and in pieces. */
static void bits_do_not_depend_on_company(void **state)
{
    pair p;
    open_pair(&p, *state);
    decoding *t = &p.t;
    const beam_expert_rule rule = beam_decoder_rule(&t->f.config);
    const int64_t sequences = t->f.batch.sequences;
    float *all = decoding_logits(t), *one = decoding_logits(t);
    beam_decoder *d = decoding_new(t, &p.weights, rule, sequences, sequences, &p.be);
    const int64_t waits = p.be.waits;
    decoding_run(t, d, 0, sequences, 1, all, NULL);
    assert_int_equal(replays, t->length - 1);        /* the first step came for the first time */
    assert_int_equal(p.be.waits - waits, t->length); /* once a step */
    beam_decoder_close(d);
    for (int64_t step = 1; step <= 5; step += 4) {
        d = decoding_new(t, &p.weights, rule, 1, step, &p.be);
        for (int64_t s = 0; s < sequences; s++)
            decoding_run(t, d, s, 1, step, one, NULL);
        assert_memory_equal(one, all, decoding_logit_bytes(t));
        beam_decoder_close(d);
    }
    free(all);
    free(one);
    close_pair(&p);
}

/* The first n tokens of a sequence of the batch in one step, of which all or the last one want logits,
 * compared with those of the last. */
static void take_prompt(const decoding *t, beam_decoder *d, int64_t sequence, int64_t n, bool all,
                        const float *logits)
{
    const int64_t vocab = t->f.config.vocab_size, first = sequence * t->length;
    beam_decoder_token token[64];
    for (int64_t i = 0; i < n; i++)
        token[i] = (beam_decoder_token){
            .id = t->f.batch.id[first + i], .position = (int32_t)i, .wants_logits = all || i == n - 1};
    hf_need(beam_decoder_step(d, token, n));
    assert_memory_equal(beam_decoder_logits(d, all ? n - 1 : 0), logits + (first + n - 1) * vocab,
                        (size_t)vocab * sizeof *logits);
}

/* Steps in which some tokens want no logits are not recorded, whatever comes before and after them. */
static void prompts_without_logits(void **state)
{
    pair p;
    open_pair(&p, *state);
    decoding *t = &p.t;
    float *want = decoding_logits(t);
    beam_decoder *d = decoding_new(t, &p.weights, beam_decoder_rule(&t->f.config), 1, t->length - 1, &p.be);
    for (int64_t s = 0; s < 2; s++)
        decoding_run(t, d, s, 1, 1, want, NULL);
    take_prompt(t, d, 0, t->length - 1, true, want);
    take_prompt(t, d, 0, t->length - 1, false, want);
    take_prompt(t, d, 1, t->length - 1, true, want);
    take_prompt(t, d, 0, t->length - 1, false, want);
    beam_decoder_close(d);
    free(want);
    close_pair(&p);
}

/* A new rule holds from the next step on, though the old one was recorded. */
static void a_rule_can_change(void **state)
{
    pair p;
    open_pair(&p, *state);
    decoding *t = &p.t;
    beam_expert_rule rule = beam_decoder_rule(&t->f.config);
    float *masked = decoding_logits(t), *open = decoding_logits(t), *again = decoding_logits(t);
    beam_decoder *d = decoding_new(t, &p.weights, rule, 1, 1, &p.be);
    decoding_run(t, d, 0, 1, 1, masked, NULL);
    rule.masks = false;
    beam_decoder_set_rule(d, rule);
    decoding_run(t, d, 0, 1, 1, open, NULL);
    rule.masks = true;
    beam_decoder_set_rule(d, rule);
    decoding_run(t, d, 0, 1, 1, again, NULL);
    const size_t bytes = (size_t)(t->length * t->f.config.vocab_size) * sizeof *open; /* of one sequence */
    assert_memory_equal(again, masked, bytes);
    assert_memory_not_equal(open, masked, bytes);
    beam_decoder_close(d);
    free(masked);
    free(open);
    free(again);
    close_pair(&p);
}

/* Matrices in bf16, loaded from their folder onto the device. */
static void stored_bf16(void **state)
{
    decoding t;
    beam_backend be;
    (void)state;
    hf_need(beam_backend_cuda(&be, 0, BEAM_F32));
    decoding_open_example(&t, &be);
    decoding_check_example(&t, &be, 1);
    decoding_close_example(&t, &be);
    beam_backend_close(&be);
}

/* Three prompts, two at a time, continued by `be`. */
static void continue_prompts(const decoding *t, const beam_model_weights *w, beam_backend *be,
                             beam_generation all[3])
{
    static const int64_t lengths[] = {7, 2, 4};
    const beam_generate_options options = {.sequences = 2,
                                           .chunk = 4,
                                           .max_tokens = 5,
                                           .eos = -1,
                                           .sampling = {.top_p = 1},
                                           .lone = {.action = BEAM_LONE_KEEP, .share = 1}};
    beam_decoder_costs costs;
    for (int i = 0; i < 3; i++)
        all[i] = (beam_generation){.prompt = t->f.batch.id + 3 * i, .prompt_tokens = lengths[i]};
    hf_need(beam_generate(&t->f.config, w, beam_decoder_rule(&t->f.config), &options, be, all, 3, &costs));
}

static void the_same_is_generated(void **state)
{
    pair p;
    beam_generation here[3], there[3];
    open_pair(&p, *state);
    continue_prompts(&p.t, &p.t.weights, &p.t.f.be, here);
    continue_prompts(&p.t, &p.weights, &p.be, there);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(there[i].n, 5);
        assert_memory_equal(there[i].id, here[i].id, 5 * sizeof *here[i].id);
    }
    beam_generations_free(here, 3);
    beam_generations_free(there, 3);
    close_pair(&p);
}

static void assert_same_numbers(beam_tensor here, beam_tensor there, beam_backend *be)
{
    void *got = malloc(beam_bytes(there));
    assert_non_null(got);
    beam_download(be, got, there);
    assert_memory_equal(got, here.data, beam_bytes(here));
    free(got);
}

/* Random weights are the same on both, and the memory that they are in can be timed. */
static void random_weights(void **state)
{
    pair p;
    beam_model_weights random[2];
    open_pair(&p, *state);
    beam_model_config c = p.t.f.config;
    c.vocab_size = (3 << 19) / c.hidden_size + 1; /* more than is made at a time */
    hf_need(beam_decoder_weights_random(&random[0], &c, 0.3, &p.t.f.be));
    hf_need(beam_decoder_weights_random(&random[1], &c, 0.3, &p.be));
    for (int i = 0; i < random[0].params.n; i++)
        assert_same_numbers(random[0].params.at[i].value, random[1].params.at[i].value, &p.be);
    assert_true(beam_bench_read(&random[0], &p.t.f.be) > 0);
    assert_true(beam_bench_read(&random[1], &p.be) > 0);
    beam_model_weights_free(&random[0], &p.t.f.be);
    beam_model_weights_free(&random[1], &p.be);
    close_pair(&p);
}

/* Steps can be timed, with rules that need more room than the first one. */
static void benchmarks(void **state)
{
    pair p;
    beam_model_weights random;
    open_pair(&p, *state);
    beam_model_config shape = p.t.f.config;
    shape.experts = 16;
    shape.top_k = 2;
    const beam_model_config *c = &shape;
    hf_need(beam_decoder_weights_random(&random, c, 0.3, &p.be));
    beam_expert_rule rule[2] = {beam_decoder_rule(c), beam_decoder_rule(c)};
    rule[0].masks = false;
    const beam_decode_bench_options options = {
        .config = c, .weights = &random, .rule = rule, .rules = 2, .batch = 8, .context = 3, .steps = 2};
    beam_decode_bench_result result[2];
    hf_need(beam_decode_bench(&options, &p.be, result));
    assert_true(result[0].active == (double)c->top_k && result[1].active < result[0].active);
    for (int i = 0; i < 2; i++)
        assert_true(result[i].seconds > 0 && result[i].bytes_per_s > 0 && isnan(result[i].moe_seconds));
    beam_model_weights_free(&random, &p.be);
    close_pair(&p);
}

#ifdef BEAM_TEST_SIMT
/* Of a step with logits: 9 for each layer with grouped queries and experts, which the simulated device
 * launches in two. */
static int64_t launches_of(const beam_model_config *c)
{
    enum { EMBED = 1, GROUPED = 6, LATENT = 8, LOW_QUERIES = 2, DENSE = 4, MIXTURE = 3 + 1, HEAD = 3 };
    const int64_t attention = c->kv_rank > 0 ? LATENT + (c->query_rank > 0 ? LOW_QUERIES : 0) : GROUPED;
    int64_t n = EMBED + HEAD;
    for (int64_t i = 0; i < c->layers; i++)
        n += attention + (c->moe_layer[i] ? MIXTURE : DENSE);
    return n;
}

/* Every launch costs a single token time in which nothing is read. */
static void launches_are_few(void **state)
{
    pair p;
    open_pair(&p, *state);
    const decoding *t = &p.t;
    beam_decoder *d = decoding_new(t, &p.weights, beam_decoder_rule(&t->f.config), 1, 1, &p.be);
    for (int32_t i = 0; i < 2; i++) { /* run, and recorded */
        const beam_decoder_token token = {.id = t->f.batch.id[i], .position = i, .wants_logits = true};
        const int64_t before = beam_simt_launches();
        hf_need(beam_decoder_step(d, &token, 1));
        assert_int_equal(beam_simt_launches() - before, launches_of(&t->f.config));
    }
    beam_decoder_close(d);
    close_pair(&p);
}
#endif

int main(void)
{
    beam_cuda_device device;
    if (beam_cuda_devices(&device, 1) < 1) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        HF_TEST_VARIANTS(device_is_the_processor),
        HF_TEST_VARIANTS(bits_do_not_depend_on_company),
        HF_TEST(prompts_without_logits, "qwen3_moe"),
        HF_TEST(prompts_without_logits, "deepseek_v2"),
        HF_TEST(prompts_without_logits, "mixtral_window"),
        HF_TEST(a_rule_can_change, "qwen3_moe"),
        HF_TEST(the_same_is_generated, "deepseek_v2"),
#ifdef BEAM_TEST_SIMT
        HF_TEST_VARIANTS(launches_are_few),
#endif
        HF_TEST(random_weights, "qwen3_moe"),
        HF_TEST(benchmarks, "qwen3_moe"),
        cmocka_unit_test(stored_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
