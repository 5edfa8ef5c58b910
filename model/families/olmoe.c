/* OLMoE: norms over the whole query and key projections, optional clipping of q, k and v, every layer a
 * mixture of experts. */
#include "model/families/readers.h"

static const beam_key_row rows[] = {
    BEAM_INTEGER("num_key_value_heads", kv_heads, 1, 1024, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "key and value heads; null: num_attention_heads"),
    {.key = "head_dim",
     .kind = BEAM_ROW_JOINT,
     .accepted = "default null",
     .note = "hidden_size / num_attention_heads, nothing else"},
    BEAM_SWITCH("attention_bias", qkv_bias, 0, .note = "biases on the q, k, v and o projections"),
    BEAM_NUMBER("clip_qkv", qkv_limit, 1e-6, 1e6, 0, .flags = BEAM_ROW_NULLABLE,
                .note = "q, k and v are clipped to this size"),
    {.key = "sliding_window",
     .kind = BEAM_ROW_ONLY,
     .accepted = "null",
     .note = "this family sees the whole sequence"},
    BEAM_INTEGER("max_position_embeddings", max_positions, 1, BEAM_MOST_POSITIONS, 4096,
                 .note = "longest sequence"),
    BEAM_NUMBER("rms_norm_eps", rms_norm_eps, 0, 0.1, 1e-5, .note = "of every norm"),
    BEAM_INTEGER("num_experts", experts, 1, BEAM_MOST_EXPERTS, 64, .note = "experts of a layer"),
    BEAM_INTEGER("num_local_experts", experts, 1, BEAM_MOST_EXPERTS, 0, .alias_of = "num_experts",
                 .note = "experts of a layer"),
    BEAM_INTEGER("num_experts_per_tok", top_k, 1, BEAM_MOST_EXPERTS, 8, .note = "candidates per token"),
    BEAM_SWITCH("norm_topk_prob", norm_topk_prob, 0, .note = "weights of the candidates sum to 1"),
    BEAM_INTEGER("intermediate_size", moe_intermediate_size, 1, 1 << 20, 2048, .note = "width of an expert"),
    BEAM_NUMBER("router_aux_loss_coef", router_aux_loss_coef, 0, 1000, 0.01,
                .note = "weight of the balance loss"),
};

static beam_status finish(const beam_json_object *o, beam_model_config *c)
{
    c->qk_norm = BEAM_QK_NORM_PROJECTION;
    c->output_bias = c->qkv_bias;
    beam_all_moe(c);
    BEAM_TRY(beam_settle_heads(o, c));
    int64_t head_dim = c->head_dim;
    return beam_json_i64(o, "head_dim", head_dim, head_dim, &head_dim);
}

const beam_family_source *beam_family_olmoe(void)
{
    static const beam_family_source source = {
        .family =
            {.model_type = "olmoe",
             .architecture = "OlmoeForCausalLM",
             .names = {.published_mlp = "mlp", .gate = "gate_proj", .up = "up_proj", .down = "down_proj"}},
        .keys = BEAM_ROWS(rows),
        .rope_theta = 10000,
        .finish = finish,
    };
    return &source;
}
