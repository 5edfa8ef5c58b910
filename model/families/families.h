/* Model families of Hugging Face: how each one's config.json becomes a beam_model_config, and what its
 * tensors are called. One file per family; nothing else in the program asks which family a model is of. */
#ifndef BEAM_MODEL_FAMILIES_FAMILIES_H
#define BEAM_MODEL_FAMILIES_FAMILIES_H

#include "core/status.h"
#include "data/model_config.h"

/* What is done with a key of config.json. */
typedef enum {
    BEAM_KEY_USED,    /* read, checked and obeyed */
    BEAM_KEY_FIXED,   /* accepted at the values that beam implements, refused at others */
    BEAM_KEY_IGNORED, /* does not change what the model computes here; `note` says why */
} beam_key_treatment;

typedef struct {
    const char *key;
    beam_key_treatment treatment;
    char value[96];   /* what is accepted, in words; empty if it is ignored */
    const char *note; /* what it means, or why it is ignored */
} beam_family_key;

/* Names of tensors where families differ. Parameters are named as transformers 5 names a loaded model's
 * ("model.layers.0.mlp.experts.gate_up_proj"); published checkpoints have one tensor per expert
 * ("model.layers.0.mlp.experts.7.up_proj.weight"). */
typedef struct {
    const char *shared;        /* module of the shared expert: "shared_expert", "shared_experts" */
    const char *published_mlp; /* "mlp" in published checkpoints of mixture layers, or "block_sparse_moe" */
    const char *gate, *up, *down; /* projections of one expert, published: "gate_proj" or "w1", ... */
} beam_family_names;

typedef struct {
    const char *model_type;   /* "qwen3_moe" */
    const char *architecture; /* "Qwen3MoeForCausalLM" */
    beam_family_names names;
} beam_family;

/* Reads and checks `path` (a config.json). BEAM_EMODEL with file, key, what was found and what is allowed;
 * refuses by name what the model does not implement, and any key that it does not know. */
beam_status beam_model_config_read(const char *path, beam_model_config *out);

/* The family of c->model_type, which beam_model_config_read accepted. */
const beam_family *beam_family_of(const beam_model_config *c);

/* Every family that is implemented, and the keys of its config.json: for documentation and tests. */
int beam_family_count(void);
const beam_family *beam_family_at(int i);
/* Number i of the family's keys, those of all families included; false if there are fewer. A key that ends in
 * '*' stands for every key that starts so. */
bool beam_family_key_at(const beam_family *f, int i, beam_family_key *out);

#endif
