/* Mixtral: plain grouped-query attention, every layer a mixture of experts, weights of the candidates always
 * normalised. */
#include <string.h>

#include "model/families/readers.h"

static const beam_key_row rows[] = {
    BEAM_INTEGER("num_key_value_heads", kv_heads, 1, 1024, 8, .flags = BEAM_ROW_NULLABLE,
                 .note = "key and value heads; null: num_attention_heads"),
    BEAM_INTEGER("head_dim", head_dim, 1, BEAM_MOST_HEAD_DIM, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "of a head, even; null: hidden_size / num_attention_heads"),
    BEAM_INTEGER("sliding_window", window, 1, BEAM_MOST_POSITIONS, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "tokens that every layer sees, itself included; null: all"),
    BEAM_INTEGER("max_position_embeddings", max_positions, 1, BEAM_MOST_POSITIONS, 131072,
                 .note = "longest sequence"),
    BEAM_NUMBER("rms_norm_eps", rms_norm_eps, 0, 0.1, 1e-5, .note = "of every norm"),
    BEAM_INTEGER("num_local_experts", experts, 1, BEAM_MOST_EXPERTS, 8, .note = "experts of a layer"),
    BEAM_INTEGER("num_experts", experts, 1, BEAM_MOST_EXPERTS, 0, .alias_of = "num_local_experts",
                 .note = "experts of a layer"),
    BEAM_INTEGER("num_experts_per_tok", top_k, 1, BEAM_MOST_EXPERTS, 2, .note = "candidates per token"),
    {.key = "norm_topk_prob",
     .kind = BEAM_ROW_ONLY,
     .accepted = "true",
     .note = "weights of the candidates always sum to 1"},
    {.key = "router_jitter_noise",
     .kind = BEAM_ROW_ONLY,
     .accepted = "0",
     .note = "no noise on the experts' input in training"},
    BEAM_INTEGER("intermediate_size", moe_intermediate_size, 1, 1 << 20, 14336, .note = "width of an expert"),
    BEAM_NUMBER("router_aux_loss_coef", router_aux_loss_coef, 0, 1000, 0.001,
                .note = "weight of the balance loss"),
};

static beam_status finish(const beam_json_object *o, beam_model_config *c)
{
    c->norm_topk_prob = true;
    beam_all_moe(c);
    memset(c->windowed, c->window > 0, (size_t)c->layers);
    return beam_settle_heads(o, c);
}

const beam_family_source *beam_family_mixtral(void)
{
    static const beam_family_source source = {
        .family = {.model_type = "mixtral",
                   .architecture = "MixtralForCausalLM",
                   .names = {.published_mlp = "block_sparse_moe", .gate = "w1", .up = "w3", .down = "w2"}},
        .keys = BEAM_ROWS(rows),
        .rope_theta = 1e6,
        .finish = finish,
    };
    return &source;
}
