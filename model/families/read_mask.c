/* The `expert_mask` block, described in docs/formats.md. */
#include <stdlib.h>
#include <string.h>

#include "model/families/readers.h"

static const beam_key_row rows[] = {
    {.key = "version",
     .kind = BEAM_ROW_ONLY,
     .flags = BEAM_ROW_NEEDED,
     .accepted = "1",
     .note = "a newer beam wrote it"},
    BEAM_NUMBER("threshold", mask.threshold, 0, 1, 0, .flags = BEAM_ROW_NEEDED),
    {.key = "mask_tensor",
     .kind = BEAM_ROW_ONLY,
     .accepted = "\"mask_gate\"",
     .note = "the name of the gates' tensors"},
    BEAM_SWITCH("bias", mask.bias, 0, .note = "mask_gate.bias exists"),
    BEAM_SWITCH("router_features", mask.router_features, 0, .note = "router_scale and rank_bias exist"),
    BEAM_SWITCH("dropped_output", mask.give_back, 0, .note = "mask_gate.dropped_output exists"),
    {.key = "renormalize",
     .kind = BEAM_ROW_ONLY,
     .accepted = "false",
     .note = "weights of kept experts stay as they are"},
    {.key = "num_masked_layers", .kind = BEAM_ROW_JOINT},
    {.key = "base_hash", .kind = BEAM_ROW_JOINT},
    {.key = "mask_dtype", .kind = BEAM_ROW_UNUSED},
    {.key = "avg_active", .kind = BEAM_ROW_UNUSED},
    {.key = "paper", .kind = BEAM_ROW_UNUSED},
};

/* ["Qwen3MoeForCausalLM"]; with masks ["ExpertMaskQwen3MoeForCausalLM"]. It may only be absent without. */
static beam_status check_architecture(const beam_json_object *o, const char *architecture, bool masked)
{
    char wanted[96], name[96] = "", shown[64];
    size_t n = 0;
    snprintf(wanted, sizeof wanted, "%s%s", masked ? "ExpertMask" : "", architecture);
    if (!masked && !beam_json_has(o, "architectures"))
        return BEAM_OK;
    if (beam_json_is_list(o, "architectures"))
        BEAM_TRY(beam_json_length(o, "architectures", &n));
    if (n == 1 && beam_json_text_at(o, "architectures", 0, name, sizeof name) == BEAM_OK &&
        strcmp(name, wanted) == 0)
        return BEAM_OK;
    return BEAM_FAIL(
        o->error, "%s: \"architectures\" is %s; expected [\"%s\"] for a model %s an \"expert_mask\" block",
        o->path, beam_json_show_key(o, "architectures", shown), wanted, masked ? "with" : "without");
}

/* 16 hexadecimal digits. */
static beam_status read_base_hash(const beam_json_object *m, uint64_t *out)
{
    char text[20] = "", shown[64];
    BEAM_TRY(beam_json_text(m, "base_hash", text, sizeof text));
    if (!beam_json_has(m, "base_hash"))
        return BEAM_OK;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return BEAM_FAIL(m->error, "%s: \"expert_mask.base_hash\" is %s; expected 16 hexadecimal digits",
                         m->path, beam_json_show_key(m, "base_hash", shown));
    *out = strtoull(text, NULL, 16);
    return BEAM_OK;
}

beam_status beam_read_mask(const beam_json_object *o, const char *architecture, beam_model_config *c)
{
    const json_t *block;
    BEAM_TRY(beam_json_child(o, "expert_mask", &block));
    BEAM_TRY(check_architecture(o, architecture, block != NULL));
    if (!block)
        return BEAM_OK;
    const beam_json_object m = {.json = block, .path = o->path, .prefix = "expert_mask.", .error = o->error};
    const beam_key_rows keys = BEAM_ROWS(rows);
    int64_t layers = beam_moe_layers(c);
    BEAM_TRY(beam_keys_read(&m, &keys, 1, "of version 1", c));
    BEAM_TRY(beam_json_i64(&m, "num_masked_layers", layers, layers, &layers));
    BEAM_TRY(read_base_hash(&m, &c->mask.base_hash));
    if (!(c->mask.threshold > 0 && c->mask.threshold < 1))
        return BEAM_FAIL(o->error,
                         "%s: \"expert_mask.threshold\" is %g; expected more than 0 and less than 1", o->path,
                         c->mask.threshold);
    c->mask.present = true;
    return BEAM_OK;
}
