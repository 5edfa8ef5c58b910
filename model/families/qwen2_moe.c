/* Qwen2-MoE (Qwen1.5-MoE): biases on q, k and v, and a shared expert whose output passes a sigmoid gate. */
#include <string.h>

#include "model/families/readers.h"

static const beam_key_row rows[] = {
    BEAM_INTEGER("num_key_value_heads", kv_heads, 1, 1024, 16, .note = "key and value heads"),
    BEAM_INTEGER("head_dim", head_dim, 1, BEAM_MOST_HEAD_DIM, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "of a head, even; null: hidden_size / num_attention_heads"),
    BEAM_SWITCH("qkv_bias", qkv_bias, 1, .note = "biases on the q, k and v projections"),
    BEAM_QWEN_WINDOW_ROWS,
    {.key = "max_window_layers",
     .kind = BEAM_ROW_JOINT,
     .accepted = "0 to 512; default 28",
     .note = "without layer_types: windows in layers 0, 2, 4, ... below it"},
    {.key = "layer_types",
     .kind = BEAM_ROW_JOINT,
     .accepted = "list, one per layer; default null",
     .note = "full_attention or sliding_attention"},
    BEAM_INTEGER("max_position_embeddings", max_positions, 1, BEAM_MOST_POSITIONS, 32768,
                 .note = "longest sequence"),
    BEAM_NUMBER("rms_norm_eps", rms_norm_eps, 0, 0.1, 1e-6, .note = "of every norm"),
    BEAM_INTEGER("num_experts", experts, 1, BEAM_MOST_EXPERTS, 60, .note = "experts of a layer"),
    BEAM_INTEGER("num_experts_per_tok", top_k, 1, BEAM_MOST_EXPERTS, 4, .note = "candidates per token"),
    BEAM_SWITCH("norm_topk_prob", norm_topk_prob, 0, .note = "weights of the candidates sum to 1"),
    BEAM_INTEGER("moe_intermediate_size", moe_intermediate_size, 1, 1 << 20, 1408,
                 .note = "width of an expert"),
    BEAM_INTEGER("shared_expert_intermediate_size", shared_size, 1, 1 << 20, 5632,
                 .note = "width of the shared expert"),
    BEAM_INTEGER("intermediate_size", intermediate_size, 1, 1 << 20, 5632, .note = "width of dense layers"),
    BEAM_QWEN_LAYER_ROWS,
    BEAM_NUMBER("router_aux_loss_coef", router_aux_loss_coef, 0, 1000, 0.001,
                .note = "weight of the balance loss"),
};

static beam_status read_layer_types(const beam_json_object *o, beam_model_config *c)
{
    size_t n;
    BEAM_TRY(beam_json_length(o, "layer_types", &n));
    if ((int64_t)n != c->layers)
        return BEAM_FAIL(o->error, "%s: \"layer_types\" has %zu entries for %lld layers", o->path, n,
                         (long long)c->layers);
    for (size_t i = 0; i < n; i++) {
        char type[64];
        BEAM_TRY(beam_json_text_at(o, "layer_types", i, type, sizeof type));
        c->windowed[i] = strcmp(type, "sliding_attention") == 0;
        if (!c->windowed[i] && strcmp(type, "full_attention") != 0)
            return BEAM_FAIL(o->error,
                             "%s: \"layer_types[%zu]\" is \"%s\"; beam implements \"full_attention\" and "
                             "\"sliding_attention\"",
                             o->path, i, type);
        if (c->windowed[i] && c->window == 0)
            return BEAM_FAIL(
                o->error,
                "%s: \"layer_types[%zu]\" is \"sliding_attention\", but \"use_sliding_window\" is off",
                o->path, i);
    }
    return BEAM_OK;
}

static beam_status read_windows(const beam_json_object *o, beam_model_config *c)
{
    int64_t below = 28;
    BEAM_TRY(beam_read_qwen_window(o, c));
    BEAM_TRY(beam_json_i64(o, "max_window_layers", 0, BEAM_MAX_LAYERS, &below));
    if (beam_json_has(o, "layer_types"))
        return read_layer_types(o, c);
    for (int64_t i = 0; i < c->layers; i++)
        c->windowed[i] = c->window > 0 && i % 2 == 0 && i < below;
    return BEAM_OK;
}

static beam_status finish(const beam_json_object *o, beam_model_config *c)
{
    c->shared_gate = true;
    BEAM_TRY(beam_settle_heads(o, c));
    BEAM_TRY(read_windows(o, c));
    return beam_read_qwen_layers(o, c);
}

const beam_family_source *beam_family_qwen2_moe(void)
{
    static const beam_family_source source = {
        .family = {.model_type = "qwen2_moe",
                   .architecture = "Qwen2MoeForCausalLM",
                   .names = {.shared = "shared_expert",
                             .published_mlp = "mlp",
                             .gate = "gate_proj",
                             .up = "up_proj",
                             .down = "down_proj"}},
        .keys = BEAM_ROWS(rows),
        .rope_theta = 10000,
        .finish = finish,
    };
    return &source;
}
