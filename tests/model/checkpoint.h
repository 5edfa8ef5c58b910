/* Checkpoints that tests write: the tensors of a model under Hugging Face's names, which a test may change
 * before they are written. */
#ifndef BEAM_TESTS_MODEL_CHECKPOINT_H
#define BEAM_TESTS_MODEL_CHECKPOINT_H

#include "data/safetensors.h"
#include "model/hf_map.h"
#include "model/model.h"

typedef struct {
    beam_weight_source *at; /* each one's values are context, float */
    int64_t n;
} test_checkpoint;

/* Copies of all tensors of `m`, or without those of its mask gates. */
test_checkpoint test_checkpoint_of(beam_model *m, beam_hf_layout layout, bool gates);
void test_checkpoint_free(test_checkpoint *k);

/* The tensor of that name, or NULL. */
beam_weight_source *test_checkpoint_find(const test_checkpoint *k, const char *name);
const float *test_checkpoint_values(const beam_weight_source *t);

/* Appends a tensor [n] or [n,m] of zeros, or a copy of one; removes one. */
void test_checkpoint_add(test_checkpoint *k, const char *name, int ndim, const int64_t dim[]);
void test_checkpoint_copy(test_checkpoint *k, const char *name, const char *from);
void test_checkpoint_remove(test_checkpoint *k, const char *name);

/* Writes model.safetensors into an existing folder. */
void test_checkpoint_write(const test_checkpoint *k, const char *folder);

/* The folder of a model that transformers saved, tests/fixtures/families/NAME, in that layout; valid until
 * the next call. */
const char *test_family_folder(const char *name, beam_hf_layout layout);

/* Name i of them, NULL behind the last; whether it is there in the fused layout too. */
const char *test_family_name(int i);
bool test_family_fused(const char *name);

/* Its config.json. */
beam_model_config test_family_config(const char *name);

/* A model of that config, every parameter random by its name; gates: with bias and dropped_output. */
beam_model *test_family_open(beam_backend *be, const char *name, bool gates);

#endif
