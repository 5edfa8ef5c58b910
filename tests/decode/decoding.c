#include "decode/decoding.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/families/families.h"
#include "model/load.h"

static const double tolerance = 2e-5;

void decoding_open(decoding *t, const char *variant, bool masks)
{
    hf_fixture_open(&t->f, variant, 2);
    if (masks)
        hf_fixture_masks(&t->f, true);
    t->m = hf_fixture_model(&t->f, BEAM_SCOPE_NONE, false);
    hf_need(beam_decoder_weights_borrow(&t->weights, t->m));
    t->length = t->f.batch.tokens / t->f.batch.sequences;
}

void decoding_close(decoding *t)
{
    beam_model_weights_unlist(&t->weights);
    beam_model_close(t->m);
    hf_fixture_close(&t->f);
}

void decoding_open_example(decoding *t, beam_backend *be)
{
    enum { TOKENS = 16 };
    const char *elsewhere = getenv("BEAM_TEST_EXAMPLE"); /* a program that was taken to another machine */
    *t = (decoding){.f.variant = "tiny-moe", .length = TOKENS};
    snprintf(t->f.folder, sizeof t->f.folder, "%s", elsewhere ? elsewhere : BEAM_EXAMPLE_FOLDER);
    char *config = hf_fixture_path(&t->f, "config.json");
    hf_need(beam_backend_cpu(&t->f.be, 2));
    hf_need(beam_model_config_read(config, &t->f.config));
    free(config);
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = TOKENS};
    hf_need(beam_model_open(&t->m, &t->f.config, &options, &t->f.be));
    hf_need(beam_model_load(t->m, t->f.folder, false));
    hf_need(beam_batch_alloc(&t->f.batch, TOKENS));
    t->f.batch.sequences = 1;
    t->f.batch.first[1] = TOKENS;
    for (int i = 0; i < TOKENS; i++) {
        t->f.batch.id[i] = "It was the best of times"[i];
        t->f.batch.target[i] = -1;
        t->f.batch.position[i] = i;
        t->f.batch.counted[i] = 1;
    }
    hf_need(beam_decoder_weights_load(&t->weights, &t->f.config, t->f.folder, NULL, be));
}

void decoding_close_example(decoding *t, beam_backend *be)
{
    beam_model_weights_free(&t->weights, be);
    beam_model_close(t->m);
    beam_batch_free(&t->f.batch);
    beam_backend_close(&t->f.be);
}

beam_decoder *decoding_new(const decoding *t, const beam_model_weights *weights, beam_expert_rule rule,
                           int64_t sequences, int64_t chunk, beam_backend *be)
{
    beam_decoder *d;
    const beam_decoder_options options = {
        .sequences = sequences, .context = t->length, .chunk = chunk, .logits = chunk};
    hf_need(beam_decoder_open(&d, &t->f.config, weights, rule, &options, be));
    return d;
}

void decoding_run(const decoding *t, beam_decoder *d, int64_t first, int64_t n, int64_t step, float *logits,
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

size_t decoding_logit_bytes(const decoding *t)
{
    return (size_t)(t->f.batch.tokens * t->f.config.vocab_size) * sizeof(float);
}

float *decoding_logits(const decoding *t)
{
    float *x = malloc(decoding_logit_bytes(t));
    assert_non_null(x);
    return x;
}

size_t decoding_expert_bytes(const decoding *t)
{
    const beam_model_config *c = &t->f.config;
    return (size_t)(t->f.batch.tokens * beam_moe_layers(c) * c->top_k) * sizeof(int32_t);
}

int32_t *decoding_experts(const decoding *t)
{
    int32_t *x = calloc(decoding_expert_bytes(t), 1);
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

void decoding_assert_close(const decoding *t, const float *got, const float *want)
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

void decoding_check_example(decoding *t, beam_backend *be, int64_t step)
{
    beam_model_forward(t->m, &t->f.batch, 0);
    float *want = hf_fixture_logits(t->m, &t->f.batch), *got = decoding_logits(t);
    beam_decoder *d = decoding_new(t, &t->weights, beam_decoder_rule(&t->f.config), 1, step, be);
    decoding_run(t, d, 0, 1, step, got, NULL);
    decoding_assert_close(t, got, want);
    beam_decoder_close(d);
    free(want);
    free(got);
}
