/* The shape of a model as numbers: what a config.json of any family comes to (model/families/). */
#ifndef BEAM_DATA_MODEL_CONFIG_H
#define BEAM_DATA_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

enum { BEAM_MAX_LAYERS = 512 };

/* In front of the base's model_type in the config.json of a masked model: programs that know only the base
 * refuse the name, instead of running the model without its masks. */
#define BEAM_MASKED_TYPE "expert_mask_"

/* The `expert_mask` block of config.json: what the folder's mask gates are made of. */
typedef struct {
    bool present;         /* false: a plain base model */
    double threshold;     /* tau in (0, 1) */
    bool bias;            /* mask_gate.bias exists */
    bool router_features; /* mask_gate.router_scale and mask_gate.rank_bias exist */
    bool give_back;       /* mask_gate.dropped_output exists */
    uint64_t base_hash;   /* of the base model that an adapter belongs to; 0: not told */
    bool fixed_weight;    /* mask_gate.weight does not train; not part of config.json */
} beam_mask_config;

/* Rotary positions: angle = position * frequency, frequency i = theta^(-2i / rotary_dim), then scaled. */
typedef struct {
    enum beam_rope_kind { BEAM_ROPE_PLAIN, BEAM_ROPE_LINEAR, BEAM_ROPE_YARN } kind;
    double theta;
    double factor;               /* linear, YaRN: how much longer the context becomes */
    double beta_fast, beta_slow; /* YaRN: rotations at which interpolation begins and ends */
    bool truncate;               /* YaRN: round those bounds outwards to whole dimensions */
    int64_t original_positions;  /* YaRN: context length before */
    double amplitude;            /* cosine and sine are multiplied by it; 1 unless YaRN */
} beam_rope_config;

typedef struct {
    char model_type[32]; /* "qwen3_moe": names the family */
    int64_t vocab_size, hidden_size, layers, max_positions;
    bool tie_word_embeddings;
    double rms_norm_eps, initializer_range;
    int64_t eos_token_id; /* -1 if config.json has none; the first one if it is a list */

    /* Attention. Latent attention (kv_rank > 0): queries and keys have head_dim numbers, of which the last
     * rotary_dim rotate; keys and values come from a latent of kv_rank numbers, and queries from one of
     * query_rank unless that is 0. Otherwise grouped-query attention with rotary_dim = value_dim = head_dim.
     */
    int64_t heads, kv_heads, head_dim, value_dim, rotary_dim;
    int64_t kv_rank, query_rank;
    bool qkv_bias, output_bias;
    enum { BEAM_QK_NORM_NONE, BEAM_QK_NORM_HEAD, BEAM_QK_NORM_PROJECTION } qk_norm;
    double qkv_limit;   /* q, k, v are clipped to [-limit, limit]; 0: not */
    double score_scale; /* of q.k */
    int64_t window;     /* tokens that a layer of windowed[] sees, itself included */
    uint8_t windowed[BEAM_MAX_LAYERS];
    beam_rope_config rope;

    /* Feed-forward. */
    uint8_t moe_layer[BEAM_MAX_LAYERS]; /* 1: mixture of experts, 0: dense MLP */
    int64_t intermediate_size;          /* width of dense MLP layers; 0 in families without */
    int64_t moe_intermediate_size;      /* F, of one expert */
    int64_t experts, top_k;             /* E, K */
    bool norm_topk_prob;
    double routed_scale;                /* of the combine weights */
    int64_t expert_groups, kept_groups; /* group-limited top-k; equal: no limit */
    int64_t shared_size;                /* width of the shared expert (several count as one); 0: none */
    bool shared_gate;                   /* its output is multiplied by sigmoid(w.x) */
    double router_aux_loss_coef;
    int64_t null_experts; /* N, which do nothing: the router's rows behind the experts'; not part of
                             config.json */

    beam_mask_config mask;

    /* Expert parallelism: of `expert_ranks` processes that share the experts of every layer in equal runs,
     * this is number `expert_rank`; 0 or 1: all experts are here. Not part of config.json. */
    int64_t expert_ranks, expert_rank;
} beam_model_config;

/* Number of layers that are mixtures of experts. */
static inline int64_t beam_moe_layers(const beam_model_config *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->layers; i++)
        n += c->moe_layer[i];
    return n;
}

/* Rows of the router. */
static inline int64_t beam_router_rows(const beam_model_config *c)
{
    return c->experts + c->null_experts;
}

/* The experts of a layer that this process holds: how many, and the first. */
static inline int64_t beam_held_experts(const beam_model_config *c)
{
    return c->expert_ranks > 1 ? c->experts / c->expert_ranks : c->experts;
}

static inline int64_t beam_first_expert(const beam_model_config *c)
{
    return c->expert_rank * beam_held_experts(c);
}

/* Fills what is still 0 with what plain grouped-query attention over evenly weighted experts has: kv_heads,
 * head_dim, value_dim, rotary_dim, score_scale, the rotation's amplitude, routed_scale, no expert groups.
 * Every configuration goes through it, whether read from a file or written by hand. */
void beam_model_config_complete(beam_model_config *c);

#endif
