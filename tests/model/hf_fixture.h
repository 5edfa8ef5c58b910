/* The models of tests/fixtures/families, one per variant of a family, and what Hugging Face transformers
 * computes with them. All functions fail the test that calls them if they cannot do what they say. */
#ifndef BEAM_TESTS_MODEL_HF_FIXTURE_H
#define BEAM_TESTS_MODEL_HF_FIXTURE_H

#include "data/safetensors.h"
#include "model/hf_map.h"
#include "model/model.h"

typedef struct {
    const char *variant; /* folder of tests/fixtures/families */
    char folder[512];
    beam_backend be;
    beam_model_config config; /* config.json's; mask gates are the caller's to ask for */
    beam_weights *expected;
    beam_batch batch; /* `ids` [S,L]; every next token is a target */
} hf_fixture;

/* A test that runs once for every variant, which is its state. */
#define HF_TEST(f, variant)                                                                                  \
    {                                                                                                        \
#f "[" variant "]", f, NULL, NULL, variant                                                           \
    }
#define HF_TEST_VARIANTS(f)                                                                                  \
    HF_TEST(f, "qwen3_moe"), HF_TEST(f, "qwen3_moe_dense"), HF_TEST(f, "qwen2_moe"),                         \
        HF_TEST(f, "qwen2_moe_window"), HF_TEST(f, "deepseek_v2"), HF_TEST(f, "deepseek_v2_groups"),         \
        HF_TEST(f, "olmoe"), HF_TEST(f, "olmoe_clip"), HF_TEST(f, "mixtral"), HF_TEST(f, "mixtral_window")

/* Fails the test with the last error unless the status is BEAM_OK. */
void hf_need(beam_status status);

void hf_fixture_open(hf_fixture *f, const char *variant, int threads);
void hf_fixture_close(hf_fixture *f);

/* "folder/name" of the variant, in new memory. */
char *hf_fixture_path(const hf_fixture *f, const char *name);

/* Models opened from now on have the fixture's mask gates: every part, or all but what dropped experts give
 * back. */
void hf_fixture_masks(hf_fixture *f, bool give_back);

/* A model of f->config with the fixture's parameters. */
beam_model *hf_fixture_model(hf_fixture *f, beam_scope scope, bool checkpointing);

/* Elements of one expected tensor, in new memory, as `dtype` (f32 from any float, or the type it has). */
void *hf_fixture_expect(const hf_fixture *f, const char *name, beam_dtype dtype, int64_t count);

/* All logits [T,V] of the last forward pass, in new memory. */
float *hf_fixture_logits(beam_model *m, const beam_batch *b);

/* Published names of the model's tensors; free with beam_hf_map_free. */
beam_hf_map hf_fixture_map(beam_model *m);

#endif
