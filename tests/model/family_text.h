/* Small config.json files for the tests of model families. */
#ifndef BEAM_TESTS_MODEL_FAMILY_TEXT_H
#define BEAM_TESTS_MODEL_FAMILY_TEXT_H

#include <stddef.h>

#include "model/families/families.h"

/* The keys that a family's config.json must have, without braces: vocabulary 1000, hidden size 64, 4 layers,
 * 4 heads, 2 candidates. `model_type` must be a literal. */
#define FAMILY(model_type)                                                                                   \
    "\"model_type\": \"" model_type "\", \"vocab_size\": 1000, \"hidden_size\": 64, "                        \
    "\"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_experts_per_tok\": 2"

/* Reads `text` as a config.json of the scratch folder. */
beam_status family_read(const char *text, beam_model_config *c);

/* The same, failing the test if it is refused. */
beam_model_config family_accept(const char *text);

/* A text that must be refused with a message that has `message`. */
typedef struct {
    const char *text, *message;
} family_refusal;
void family_refuse(const family_refusal *cases, size_t n);

/* A file of tests/fixtures or docs; fails the test if the path is too long. Valid until the next call. */
const char *family_source_path(const char *name);

#endif
