/* Qwen3-MoE: a norm on each query and key head, head_dim of its own, optional biases on all four
 * projections. A sliding window, if switched on, holds in every layer. */
#include <string.h>

#include "model/families/readers.h"

static const beam_key_row rows[] = {
    BEAM_INTEGER("num_key_value_heads", kv_heads, 1, 1024, 4, .note = "key and value heads"),
    BEAM_INTEGER("head_dim", head_dim, 1, BEAM_MOST_HEAD_DIM, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "of a head, even; null: hidden_size / num_attention_heads"),
    BEAM_SWITCH("attention_bias", qkv_bias, 0, .note = "biases on the q, k, v and o projections"),
    BEAM_QWEN_WINDOW_ROWS,
    {.key = "max_window_layers",
     .kind = BEAM_ROW_UNUSED,
     .note = "transformers windows all layers of this family or none"},
    BEAM_INTEGER("max_position_embeddings", max_positions, 1, BEAM_MOST_POSITIONS, 32768,
                 .note = "longest sequence"),
    BEAM_NUMBER("rms_norm_eps", rms_norm_eps, 0, 0.1, 1e-6, .note = "of every norm"),
    BEAM_INTEGER("num_experts", experts, 1, BEAM_MOST_EXPERTS, 128, .note = "experts of a layer"),
    BEAM_INTEGER("num_local_experts", experts, 1, BEAM_MOST_EXPERTS, 0, .alias_of = "num_experts",
                 .note = "experts of a layer"),
    BEAM_INTEGER("num_experts_per_tok", top_k, 1, BEAM_MOST_EXPERTS, 8, .note = "candidates per token"),
    BEAM_SWITCH("norm_topk_prob", norm_topk_prob, 0, .note = "weights of the candidates sum to 1"),
    BEAM_INTEGER("moe_intermediate_size", moe_intermediate_size, 1, 1 << 20, 768,
                 .note = "width of an expert"),
    BEAM_INTEGER("intermediate_size", intermediate_size, 1, 1 << 20, 6144, .note = "width of dense layers"),
    BEAM_QWEN_LAYER_ROWS,
    BEAM_NUMBER("router_aux_loss_coef", router_aux_loss_coef, 0, 1000, 0.001,
                .note = "weight of the balance loss"),
};

static beam_status finish(const beam_json_object *o, beam_model_config *c)
{
    c->qk_norm = BEAM_QK_NORM_HEAD;
    c->output_bias = c->qkv_bias;
    BEAM_TRY(beam_settle_heads(o, c));
    BEAM_TRY(beam_read_qwen_window(o, c));
    memset(c->windowed, c->window > 0, (size_t)c->layers);
    return beam_read_qwen_layers(o, c);
}

const beam_family_source *beam_family_qwen3_moe(void)
{
    static const beam_family_source source = {
        .family =
            {.model_type = "qwen3_moe",
             .architecture = "Qwen3MoeForCausalLM",
             .names = {.published_mlp = "mlp", .gate = "gate_proj", .up = "up_proj", .down = "down_proj"}},
        .keys = BEAM_ROWS(rows),
        .rope_theta = 10000,
        .finish = finish,
    };
    return &source;
}
