/* DeepSeek-V2: latent attention, the first layers dense, shared experts beside the routed ones, routed
 * weights that are scaled and not normalised, optionally top-k within the best groups of experts. */
#include <string.h>

#include "model/families/readers.h"

static const beam_key_row rows[] = {
    BEAM_INTEGER("num_key_value_heads", kv_heads, 1, 1024, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "num_attention_heads, nothing else: latent attention shares no heads"),
    BEAM_INTEGER("q_lora_rank", query_rank, 1, 1 << 17, 1536, .flags = BEAM_ROW_NULLABLE,
                 .note = "latent of the queries; null: none"),
    BEAM_INTEGER("kv_lora_rank", kv_rank, 1, 1 << 17, 512, .note = "latent of keys and values"),
    /* `finish` adds the part that rotates. */
    BEAM_INTEGER("qk_nope_head_dim", head_dim, 1, BEAM_MOST_HEAD_DIM, 128,
                 .note = "numbers of a query or key head that do not rotate"),
    BEAM_INTEGER("qk_rope_head_dim", rotary_dim, 2, BEAM_MOST_HEAD_DIM, 64, .note = "numbers that do; even"),
    BEAM_INTEGER("v_head_dim", value_dim, 1, BEAM_MOST_HEAD_DIM, 128, .note = "of a value head"),
    {.key = "head_dim", .kind = BEAM_ROW_UNUSED, .note = "transformers overwrites it with qk_rope_head_dim"},
    {.key = "qk_head_dim",
     .kind = BEAM_ROW_UNUSED,
     .note = "is qk_nope_head_dim + qk_rope_head_dim whatever it says"},
    {.key = "attention_bias",
     .kind = BEAM_ROW_ONLY,
     .accepted = "false",
     .note = "no biases in latent attention"},
    {.key = "mlp_bias", .kind = BEAM_ROW_ONLY, .accepted = "false", .note = "no biases in experts"},
    BEAM_INTEGER("max_position_embeddings", max_positions, 1, BEAM_MOST_POSITIONS, 2048,
                 .note = "longest sequence"),
    BEAM_NUMBER("rms_norm_eps", rms_norm_eps, 0, 0.1, 1e-6,
                .note = "of every norm but the latents', which is 1e-6"),
    BEAM_INTEGER("n_routed_experts", experts, 1, BEAM_MOST_EXPERTS, 64, .note = "experts of a layer"),
    BEAM_INTEGER("num_experts", experts, 1, BEAM_MOST_EXPERTS, 0, .alias_of = "n_routed_experts",
                 .note = "experts of a layer"),
    BEAM_INTEGER("num_experts_per_tok", top_k, 1, BEAM_MOST_EXPERTS, 0, .flags = BEAM_ROW_NEEDED,
                 .note = "candidates per token"),
    {.key = "norm_topk_prob",
     .kind = BEAM_ROW_ONLY,
     .accepted = "false",
     .note = "transformers never normalises the weights of this family, the original code does"},
    BEAM_NUMBER("routed_scaling_factor", routed_scale, 1e-6, 1e6, 1, .note = "multiplies the weights"),
    {.key = "scoring_func",
     .kind = BEAM_ROW_ONLY,
     .accepted = "\"softmax\"",
     .note = "how the router scores experts"},
    {.key = "topk_method",
     .kind = BEAM_ROW_JOINT,
     .accepted = "greedy or group_limited_greedy",
     .note = "candidates among all experts (the default), or in the best groups"},
    BEAM_INTEGER("n_group", expert_groups, 1, BEAM_MOST_EXPERTS, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "groups of experts; for group_limited_greedy"),
    BEAM_INTEGER("topk_group", kept_groups, 1, BEAM_MOST_EXPERTS, 0, .flags = BEAM_ROW_NULLABLE,
                 .note = "groups that give candidates; for group_limited_greedy"),
    BEAM_INTEGER("moe_intermediate_size", moe_intermediate_size, 1, 1 << 20, 1407,
                 .note = "width of an expert"),
    /* `finish` multiplies by their width. */
    BEAM_INTEGER("n_shared_experts", shared_size, 1, 256, 2, .note = "shared experts, of the same width"),
    BEAM_INTEGER("intermediate_size", intermediate_size, 1, 1 << 20, 11008, .note = "width of dense layers"),
    {.key = "first_k_dense_replace",
     .kind = BEAM_ROW_JOINT,
     .accepted = "0 to 512; default 0",
     .note = "this many first layers are dense"},
    {.key = "moe_layer_freq",
     .kind = BEAM_ROW_ONLY,
     .accepted = "1",
     .note = "every later layer is a mixture of experts"},
    {.key = "aux_loss_alpha",
     .kind = BEAM_ROW_UNUSED,
     .note = "balance loss of the original training code; transformers has none for this family"},
    {.key = "seq_aux",
     .kind = BEAM_ROW_UNUSED,
     .note = "balance loss of the original training code; transformers has none for this family"},
};

static beam_status settle_attention(const beam_json_object *o, beam_model_config *c)
{
    if (c->kv_heads == 0)
        c->kv_heads = c->heads;
    if (c->kv_heads != c->heads)
        return BEAM_FAIL(o->error,
                         "%s: \"num_key_value_heads\" is %lld; latent attention has as many as "
                         "\"num_attention_heads\" (%lld)",
                         o->path, (long long)c->kv_heads, (long long)c->heads);
    if (c->rotary_dim % 2 != 0)
        return BEAM_FAIL(o->error, "%s: \"qk_rope_head_dim\" is %lld; rotary positions need an even number",
                         o->path, (long long)c->rotary_dim);
    c->head_dim += c->rotary_dim;
    return BEAM_OK;
}

static beam_status settle_groups(const beam_json_object *o, beam_model_config *c)
{
    char method[64] = "greedy";
    BEAM_TRY(beam_json_text(o, "topk_method", method, sizeof method));
    if (strcmp(method, "greedy") == 0) {
        c->expert_groups = c->kept_groups = 1;
        return BEAM_OK;
    }
    if (strcmp(method, "group_limited_greedy") != 0)
        return BEAM_FAIL(o->error,
                         "%s: \"topk_method\" is \"%s\"; beam implements \"greedy\" and "
                         "\"group_limited_greedy\"",
                         o->path, method);
    const int64_t groups = c->expert_groups, kept = c->kept_groups;
    if (groups == 0 || kept == 0 || c->experts % groups != 0 || kept > groups)
        return BEAM_FAIL(o->error,
                         "%s: \"topk_method\" is group_limited_greedy, which needs \"n_group\" to divide the "
                         "%lld experts and \"topk_group\" to be at most \"n_group\"",
                         o->path, (long long)c->experts);
    if (c->top_k > kept * (c->experts / groups))
        return BEAM_FAIL(o->error,
                         "%s: \"num_experts_per_tok\" (%lld) is more than the %lld experts of \"topk_group\" "
                         "groups",
                         o->path, (long long)c->top_k, (long long)(kept * (c->experts / groups)));
    return BEAM_OK;
}

static beam_status finish(const beam_json_object *o, beam_model_config *c)
{
    int64_t dense = 0;
    c->shared_size *= c->moe_intermediate_size;
    BEAM_TRY(settle_attention(o, c));
    BEAM_TRY(settle_groups(o, c));
    BEAM_TRY(beam_json_i64(o, "first_k_dense_replace", 0, BEAM_MAX_LAYERS, &dense));
    beam_all_moe(c);
    memset(c->moe_layer, 0, (size_t)(dense < c->layers ? dense : c->layers));
    return BEAM_OK;
}

const beam_family_source *beam_family_deepseek_v2(void)
{
    static const beam_family_source source = {
        .family = {.model_type = "deepseek_v2",
                   .architecture = "DeepseekV2ForCausalLM",
                   .names = {.shared = "shared_experts",
                             .published_mlp = "mlp",
                             .gate = "gate_proj",
                             .up = "up_proj",
                             .down = "down_proj"}},
        .keys = BEAM_ROWS(rows),
        .rope_theta = 10000,
        .scaled_scores = true,
        .finish = finish,
    };
    return &source;
}
