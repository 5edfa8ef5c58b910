#include "model/families/readers.h"

#include <string.h>

void beam_all_moe(beam_model_config *c)
{
    memset(c->moe_layer, 1, (size_t)c->layers);
}

beam_status beam_read_qwen_layers(const beam_json_object *o, beam_model_config *c)
{
    int64_t sparse_step = 1, layer;
    size_t dense;
    BEAM_TRY(beam_json_i64(o, "decoder_sparse_step", 1, BEAM_MAX_LAYERS, &sparse_step));
    for (int64_t i = 0; i < c->layers; i++)
        c->moe_layer[i] = (i + 1) % sparse_step == 0;
    BEAM_TRY(beam_json_length(o, "mlp_only_layers", &dense));
    for (size_t i = 0; i < dense; i++) {
        BEAM_TRY(beam_json_i64_at(o, "mlp_only_layers", i, 0, c->layers - 1, &layer));
        c->moe_layer[layer] = 0;
    }
    return BEAM_OK;
}

beam_status beam_read_qwen_window(const beam_json_object *o, beam_model_config *c)
{
    bool on = false;
    BEAM_TRY(beam_json_bool(o, "use_sliding_window", &on));
    if (on && c->window == 0)
        return BEAM_FAIL(o->error, "%s: \"use_sliding_window\" is true, but \"sliding_window\" has no length",
                         o->path);
    if (!on)
        c->window = 0;
    return BEAM_OK;
}

beam_status beam_settle_heads(const beam_json_object *o, beam_model_config *c)
{
    if (c->kv_heads == 0)
        c->kv_heads = c->heads;
    if (c->heads % c->kv_heads != 0)
        return BEAM_FAIL(o->error,
                         "%s: \"num_attention_heads\" (%lld) is not a multiple of "
                         "\"num_key_value_heads\" (%lld)",
                         o->path, (long long)c->heads, (long long)c->kv_heads);
    if (c->head_dim == 0 && c->hidden_size % c->heads != 0)
        return BEAM_FAIL(o->error,
                         "%s: \"head_dim\" is absent, and \"hidden_size\" (%lld) is not a multiple "
                         "of \"num_attention_heads\" (%lld)",
                         o->path, (long long)c->hidden_size, (long long)c->heads);
    if (c->head_dim == 0)
        c->head_dim = c->hidden_size / c->heads;
    if (c->head_dim < 2 || c->head_dim % 2 != 0)
        return BEAM_FAIL(o->error, "%s: \"head_dim\" is %lld; rotary positions need an even number", o->path,
                         (long long)c->head_dim);
    return BEAM_OK;
}

beam_status beam_read_eos(const beam_json_object *o, beam_model_config *c)
{
    size_t n;
    c->eos_token_id = -1;
    if (!beam_json_is_list(o, "eos_token_id"))
        return beam_json_i64(o, "eos_token_id", 0, c->vocab_size - 1, &c->eos_token_id);
    BEAM_TRY(beam_json_length(o, "eos_token_id", &n));
    if (n == 0)
        return BEAM_FAIL(o->error, "%s: \"eos_token_id\" is an empty list", o->path);
    return beam_json_i64_at(o, "eos_token_id", 0, 0, c->vocab_size - 1, &c->eos_token_id);
}
