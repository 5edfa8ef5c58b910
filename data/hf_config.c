/* One function per model family turns a config.json into a beam_model_config: defaults first, then the keys
 * of the file over them, then the checks that need more than one key. */
#include "data/hf_config.h"

#include <string.h>

#include "data/json.h"

enum { CONFIG_LIMIT = 1 << 20 }; /* bytes; real ones have a few thousand */

/* An optional integer key and where it goes. */
typedef struct {
    const char *key;
    int64_t min, max;
    int64_t *out;
} integer_key;

static beam_status read_integers(const beam_json_object *o, const integer_key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        BEAM_TRY(beam_json_i64(o, keys[i].key, keys[i].min, keys[i].max, keys[i].out));
    return BEAM_OK;
}

/* A switch that only has an implementation for `false`. */
static beam_status refuse_switch(const beam_json_object *o, const char *key)
{
    bool on = false;
    BEAM_TRY(beam_json_bool(o, key, &on));
    if (on)
        return BEAM_FAIL(o->error, "%s: \"%s%s\" is true; beam does not implement it", o->path, o->prefix,
                         key);
    return BEAM_OK;
}

static beam_status refuse_key(const beam_json_object *o, const char *key, const char *advice)
{
    const json_t *value = json_object_get(o->json, key);
    if (value && !json_is_null(value))
        return BEAM_FAIL(o->error, "%s: \"%s%s\" is set; %s", o->path, o->prefix, key, advice);
    return BEAM_OK;
}

/* A text key that may be absent but has only one implemented value. */
static beam_status demand_text(const beam_json_object *o, const char *key, const char *wanted)
{
    char found[64];
    const json_t *value = json_object_get(o->json, key);
    if (!value || (json_is_string(value) && strcmp(json_string_value(value), wanted) == 0))
        return BEAM_OK;
    return BEAM_FAIL(o->error, "%s: \"%s%s\" is %s; beam implements \"%s\"", o->path, o->prefix, key,
                     beam_json_show(value, found), wanted);
}

/* `rope_scaling` of older configurations and `rope_parameters` of newer ones: unscaled rotations only. */
static beam_status read_rope(const beam_json_object *o, const char *key, double *theta)
{
    char prefix[32];
    const json_t *child;
    BEAM_TRY(beam_json_child(o, key, &child));
    if (!child)
        return BEAM_OK;
    snprintf(prefix, sizeof prefix, "%s.", key);
    const beam_json_object rope = {.json = child, .path = o->path, .prefix = prefix, .error = o->error};
    if (!json_object_get(child, "type") && !json_object_get(child, "rope_type"))
        return BEAM_FAIL(o->error, "%s: \"%s\" has no rope_type; beam implements \"default\"", o->path, key);
    BEAM_TRY(demand_text(&rope, "type", "default"));
    BEAM_TRY(demand_text(&rope, "rope_type", "default"));
    double partial = 1;
    BEAM_TRY(beam_json_f64(&rope, "partial_rotary_factor", 1, 1, &partial));
    BEAM_TRY(beam_json_f64(&rope, "rope_theta", 1, 1e12, theta));
    return BEAM_OK;
}

static beam_status read_eos(const beam_json_object *o, beam_model_config *c)
{
    const json_t *eos = json_object_get(o->json, "eos_token_id");
    c->eos_token_id = -1;
    if (!json_is_array(eos)) {
        BEAM_TRY(beam_json_i64(o, "eos_token_id", 0, c->vocab_size - 1, &c->eos_token_id));
        return BEAM_OK;
    }
    const json_t *first = json_array_get(eos, 0);
    if (!json_is_integer(first) || json_integer_value(first) < 0 ||
        json_integer_value(first) >= c->vocab_size)
        return BEAM_FAIL(o->error, "%s: \"eos_token_id\" does not start with a token id below vocab_size",
                         o->path);
    c->eos_token_id = json_integer_value(first);
    return BEAM_OK;
}

static beam_status read_layer_kinds(const beam_json_object *o, beam_model_config *c)
{
    int64_t sparse_step = 1;
    BEAM_TRY(beam_json_i64(o, "decoder_sparse_step", 1, BEAM_MAX_LAYERS, &sparse_step));
    for (int64_t i = 0; i < c->layers; i++)
        c->moe_layer[i] = (i + 1) % sparse_step == 0;

    const json_t *dense = json_object_get(o->json, "mlp_only_layers");
    if (dense && !json_is_null(dense) && !json_is_array(dense))
        return BEAM_FAIL(o->error, "%s: \"mlp_only_layers\" is not a list", o->path);
    for (size_t i = 0; i < json_array_size(dense); i++) {
        const json_t *layer = json_array_get(dense, i);
        const json_int_t index = json_integer_value(layer);
        if (!json_is_integer(layer) || index < 0 || index >= c->layers)
            return BEAM_FAIL(o->error, "%s: \"mlp_only_layers\" entry %zu is not a layer from 0 to %lld",
                             o->path, i, (long long)c->layers - 1);
        c->moe_layer[index] = 0;
    }
    if (beam_moe_layers(c) == 0)
        return BEAM_FAIL(o->error,
                         "%s: no layer is a mixture of experts (see \"decoder_sparse_step\" and "
                         "\"mlp_only_layers\"); beam has nothing to mask in it",
                         o->path);
    return BEAM_OK;
}

/* The `expert_mask` block and the architecture's name must agree: an engine that reads only one of them would
 * run the model without its masks. */
static beam_status read_mask(const beam_json_object *o, const char *base, beam_model_config *c)
{
    char masked[64], found[64];
    const json_t *block, *names = json_object_get(o->json, "architectures");
    snprintf(masked, sizeof masked, "ExpertMask%s", base);
    BEAM_TRY(beam_json_child(o, "expert_mask", &block));

    const char *wanted = block ? masked : base;
    const char *name = json_string_value(json_array_get(names, 0));
    const bool absent = !names || json_is_null(names);
    if (!(absent && !block) && (json_array_size(names) != 1 || !name || strcmp(name, wanted) != 0))
        return BEAM_FAIL(
            o->error,
            "%s: \"architectures\" is %s; expected [\"%s\"] for a model %s an "
            "\"expert_mask\" block",
            o->path, beam_json_show(json_array_size(names) == 1 ? json_array_get(names, 0) : names, found),
            wanted, block ? "with" : "without");
    if (!block)
        return BEAM_OK;

    const beam_json_object m = {.json = block, .path = o->path, .prefix = "expert_mask.", .error = o->error};
    int64_t version = 0, layers = beam_moe_layers(c);
    BEAM_TRY(beam_json_require(&m, "version"));
    BEAM_TRY(beam_json_i64(&m, "version", 1, 1, &version));
    BEAM_TRY(beam_json_require(&m, "threshold"));
    BEAM_TRY(beam_json_f64(&m, "threshold", 0, 1, &c->mask.threshold));
    if (!(c->mask.threshold > 0 && c->mask.threshold < 1))
        return BEAM_FAIL(o->error,
                         "%s: \"expert_mask.threshold\" is %g; expected more than 0 and less than 1", o->path,
                         c->mask.threshold);
    BEAM_TRY(demand_text(&m, "mask_tensor", "mask_gate"));
    BEAM_TRY(beam_json_i64(&m, "num_masked_layers", layers, layers, &layers));
    BEAM_TRY(beam_json_bool(&m, "bias", &c->mask.bias));
    BEAM_TRY(beam_json_bool(&m, "router_features", &c->mask.router_features));
    BEAM_TRY(refuse_switch(&m, "dropped_output"));
    BEAM_TRY(refuse_switch(&m, "renormalize"));
    c->mask.present = true;
    return BEAM_OK;
}

static beam_status check_sizes(const beam_json_object *o, const beam_model_config *c, bool has_head_dim)
{
    if (c->heads % c->kv_heads != 0)
        return BEAM_FAIL(o->error,
                         "%s: \"num_attention_heads\" (%lld) is not a multiple of "
                         "\"num_key_value_heads\" (%lld)",
                         o->path, (long long)c->heads, (long long)c->kv_heads);
    if (!has_head_dim && c->hidden_size % c->heads != 0)
        return BEAM_FAIL(o->error,
                         "%s: \"head_dim\" is absent, and \"hidden_size\" (%lld) is not a multiple "
                         "of \"num_attention_heads\" (%lld)",
                         o->path, (long long)c->hidden_size, (long long)c->heads);
    if (c->head_dim < 2 || c->head_dim % 2 != 0)
        return BEAM_FAIL(o->error, "%s: \"head_dim\" is %lld; rotary positions need an even number", o->path,
                         (long long)c->head_dim);
    if (c->top_k > c->experts)
        return BEAM_FAIL(o->error, "%s: \"num_experts_per_tok\" (%lld) is larger than \"num_experts\" (%lld)",
                         o->path, (long long)c->top_k, (long long)c->experts);
    return BEAM_OK;
}

/* The defaults of Hugging Face's Qwen3MoeConfig. Sizes without which a model means nothing have none. */
static beam_model_config qwen3_moe_defaults(void)
{
    return (beam_model_config){.model_type = "qwen3_moe",
                               .kv_heads = 4,
                               .intermediate_size = 6144,
                               .moe_intermediate_size = 768,
                               .experts = 128,
                               .top_k = 8,
                               .max_positions = 32768,
                               .rms_norm_eps = 1e-6,
                               .rope_theta = 10000,
                               .initializer_range = 0.02,
                               .router_aux_loss_coef = 0.001};
}

static beam_status qwen3_moe_refusals(const beam_json_object *o)
{
    BEAM_TRY(demand_text(o, "hidden_act", "silu"));
    BEAM_TRY(refuse_switch(o, "attention_bias"));
    BEAM_TRY(refuse_switch(o, "use_sliding_window"));
    BEAM_TRY(refuse_key(o, "quantization_config", "use the model's unquantized weights"));
    double dropout = 0;
    BEAM_TRY(beam_json_f64(o, "attention_dropout", 0, 0, &dropout));
    return BEAM_OK;
}

static beam_status qwen3_moe(const beam_json_object *o, beam_model_config *c)
{
    static const char *const essential[] = {"vocab_size", "hidden_size", "num_hidden_layers",
                                            "num_attention_heads"};
    *c = qwen3_moe_defaults();
    BEAM_TRY(qwen3_moe_refusals(o));
    for (size_t i = 0; i < sizeof essential / sizeof essential[0]; i++)
        BEAM_TRY(beam_json_require(o, essential[i]));
    const integer_key keys[] = {
        {"vocab_size", 1, 1 << 24, &c->vocab_size},
        {"hidden_size", 1, 1 << 17, &c->hidden_size},
        {"num_hidden_layers", 1, BEAM_MAX_LAYERS, &c->layers},
        {"num_attention_heads", 1, 1024, &c->heads},
        {"num_key_value_heads", 1, 1024, &c->kv_heads},
        {"head_dim", 1, 1024, &c->head_dim},
        {"intermediate_size", 1, 1 << 20, &c->intermediate_size},
        {"moe_intermediate_size", 1, 1 << 20, &c->moe_intermediate_size},
        {"num_experts", 1, 4096, &c->experts},
        {"num_experts_per_tok", 1, 4096, &c->top_k},
        {"max_position_embeddings", 1, 1 << 24, &c->max_positions},
    };
    BEAM_TRY(read_integers(o, keys, sizeof keys / sizeof keys[0]));
    const bool has_head_dim = c->head_dim != 0;
    if (!has_head_dim)
        c->head_dim = c->hidden_size / c->heads;
    BEAM_TRY(check_sizes(o, c, has_head_dim));
    BEAM_TRY(beam_json_f64(o, "rms_norm_eps", 0, 0.1, &c->rms_norm_eps));
    BEAM_TRY(beam_json_f64(o, "initializer_range", 0, 10, &c->initializer_range));
    BEAM_TRY(beam_json_f64(o, "router_aux_loss_coef", 0, 1000, &c->router_aux_loss_coef));
    BEAM_TRY(beam_json_f64(o, "rope_theta", 1, 1e12, &c->rope_theta));
    BEAM_TRY(read_rope(o, "rope_scaling", &c->rope_theta));
    BEAM_TRY(read_rope(o, "rope_parameters", &c->rope_theta));
    BEAM_TRY(beam_json_bool(o, "norm_topk_prob", &c->norm_topk_prob));
    BEAM_TRY(beam_json_bool(o, "tie_word_embeddings", &c->tie_word_embeddings));
    BEAM_TRY(read_eos(o, c));
    BEAM_TRY(read_layer_kinds(o, c));
    BEAM_TRY(read_mask(o, "Qwen3MoeForCausalLM", c));
    return BEAM_OK;
}

static const struct {
    const char *model_type;
    beam_status (*read)(const beam_json_object *o, beam_model_config *c);
} families[] = {{"qwen3_moe", qwen3_moe}};

static beam_status read_family(const beam_json_object *o, beam_model_config *out)
{
    char found[64];
    BEAM_TRY(beam_json_require(o, "model_type"));
    const json_t *type = json_object_get(o->json, "model_type");
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (json_is_string(type) && strcmp(json_string_value(type), families[i].model_type) == 0)
            return families[i].read(o, out);
    return BEAM_FAIL(o->error, "%s: \"model_type\" is %s; beam implements \"qwen3_moe\"", o->path,
                     beam_json_show(type, found));
}

beam_status beam_hf_config_read(const char *path, beam_model_config *out)
{
    json_t *root;
    BEAM_TRY(beam_json_read(path, CONFIG_LIMIT, BEAM_EMODEL, &root));
    const beam_json_object o = {.json = root, .path = path, .prefix = "", .error = BEAM_EMODEL};
    const beam_status s = read_family(&o, out);
    json_decref(root);
    return s;
}

int64_t beam_moe_layers(const beam_model_config *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < c->layers; i++)
        n += c->moe_layer[i];
    return n;
}
