/* A Hugging Face model folder's config.json, as numbers the model can be built from.
 * Every field is range-checked here: a config.json is input from outside. */
#ifndef BEAM_DATA_HF_CONFIG_H
#define BEAM_DATA_HF_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { BEAM_MAX_LAYERS = 512 };

/* The `expert_mask` block of config.json: what the folder's mask gates are made of. */
typedef struct {
    bool present;         /* false: a plain base model */
    double threshold;     /* tau in (0, 1) */
    bool bias;            /* mask_gate.bias exists */
    bool router_features; /* mask_gate.router_scale and mask_gate.rank_bias exist */
} beam_mask_config;

typedef struct {
    char model_type[32]; /* "qwen3_moe" */
    int64_t vocab_size, hidden_size, layers, heads, kv_heads, head_dim;
    int64_t intermediate_size;     /* width of dense MLP layers */
    int64_t moe_intermediate_size; /* F */
    int64_t experts, top_k;        /* E, K */
    int64_t max_positions;
    uint8_t moe_layer[BEAM_MAX_LAYERS]; /* 1: mixture of experts, 0: dense MLP (mlp_only_layers,
                                           decoder_sparse_step) */
    bool norm_topk_prob, tie_word_embeddings;
    double rms_norm_eps, rope_theta, initializer_range, router_aux_loss_coef;
    int64_t eos_token_id; /* -1 if config.json has none; the first one if it is a list */
    beam_mask_config mask;
} beam_model_config;

/* Reads and checks `path` (a config.json). BEAM_EMODEL with file, key, what was found and what is allowed;
 * refuses what the model does not implement (another model_type, rope_scaling, sliding windows,
 * attention_bias, hidden_act other than silu, an unknown expert_mask.version) instead of ignoring it. */
beam_status beam_hf_config_read(const char *path, beam_model_config *out);

/* Number of layers that are mixtures of experts. */
int64_t beam_moe_layers(const beam_model_config *c);

#endif
