#include "data/hf_export.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/file.h"
#include "data/json.h"

/* "float32" as transformers spells it. */
static const char *torch_name(beam_dtype t)
{
    return t == BEAM_BF16 ? "bfloat16" : t == BEAM_F16 ? "float16" : "float32";
}

static json_t *mask_block(const beam_hf_export *e)
{
    json_t *block = json_pack("{s:i, s:f, s:s, s:s, s:b, s:b, s:b, s:b, s:I, s:s}", "version", 1, "threshold",
                              e->mask.threshold, "mask_tensor", "mask_gate", "mask_dtype",
                              torch_name(e->mask_dtype), "bias", e->mask.bias, "router_features",
                              e->mask.router_features, "dropped_output", e->mask.give_back, "renormalize", 0,
                              "num_masked_layers", (json_int_t)e->masked_layers, "paper", "arXiv:2605.14438");
    if (block && isfinite(e->avg_active)) {
        char text[32]; /* a measurement: six digits say it all */
        snprintf(text, sizeof text, "%.6g", e->avg_active);
        json_object_set_new(block, "avg_active", json_real(strtod(text, NULL)));
    }
    if (block && e->mask.base_hash) {
        char text[20];
        snprintf(text, sizeof text, "%016" PRIx64, e->mask.base_hash);
        json_object_set_new(block, "base_hash", json_string(text));
    }
    return block;
}

/* With as few digits as give back the same numbers: 1e-06 stays 1e-06. NULL if there is no memory. */
static char *shortest_text(const json_t *root)
{
    for (size_t digits = 15; digits < 17; digits++) {
        char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(digits));
        json_t *back = text ? json_loads(text, 0, NULL) : NULL;
        const bool same = back && json_equal(root, back);
        json_decref(back);
        if (same)
            return text;
        free(text);
    }
    return json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
}

/* With masks ["ExpertMaskQwen3MoeForCausalLM"]: an engine that does not know masks refuses the name instead
 * of running the model without them. */
static int set_architecture(json_t *root, const beam_hf_export *e)
{
    char name[128];
    snprintf(name, sizeof name, "%s%.100s", e->mask.present ? "ExpertMask" : "", e->architecture);
    return json_object_set_new(root, "architectures", json_pack("[s]", name));
}

/* The classes that transformers loads with trust_remote_code, as
 * "modeling_expert_mask.ExpertMaskOlmoeConfig". */
static json_t *class_map(const beam_hf_export *e)
{
    static const char suffix[] = "ForCausalLM";
    const size_t n = strlen(e->architecture), cut = strlen(suffix);
    const int stem = (int)(n > cut && strcmp(e->architecture + n - cut, suffix) == 0 ? n - cut : n);
    char config[160], model[160];
    snprintf(config, sizeof config, BEAM_HF_CODE ".ExpertMask%.*sConfig", stem, e->architecture);
    snprintf(model, sizeof model, BEAM_HF_CODE ".ExpertMask%.100s", e->architecture);
    return e->plain_type ? json_pack("{s:s}", "AutoModelForCausalLM", model)
                         : json_pack("{s:s, s:s}", "AutoConfig", config, "AutoModelForCausalLM", model);
}

static int set_model_type(json_t *root, const beam_hf_export *e)
{
    char name[96];
    snprintf(name, sizeof name, "%s%.64s", e->mask.present && !e->plain_type ? BEAM_MASKED_TYPE : "",
             e->model_type);
    return json_object_set_new(root, "model_type", json_string(name));
}

beam_status beam_hf_config_write(const char *from, const char *to, const beam_hf_export *e)
{
    json_t *root;
    BEAM_TRY(beam_json_read(from, 1 << 20, BEAM_EMODEL, &root));
    int bad = set_architecture(root, e) | set_model_type(root, e);
    bad |= json_object_set_new(root, "torch_dtype", json_string(torch_name(e->dtype)));
    if (json_object_get(root, "dtype"))
        bad |= json_object_set_new(root, "dtype", json_string(torch_name(e->dtype)));
    if (e->top_k)
        bad |= json_object_set_new(root, "num_experts_per_tok", json_integer((json_int_t)e->top_k));
    json_object_del(root, "expert_mask");
    json_object_del(root, "auto_map");
    if (e->mask.present) {
        bad |= json_object_set_new(root, "expert_mask", mask_block(e));
        bad |= json_object_set_new(root, "auto_map", class_map(e));
    }
    char *text = bad ? NULL : shortest_text(root);
    json_decref(root);
    if (!text)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to write it", to);
    const size_t size = strlen(text);
    text[size] = '\n'; /* in the place of the zero byte */
    const beam_status status = beam_file_write(to, text, size + 1);
    free(text);
    return status;
}

beam_status beam_hf_copy_files(const char *from, const char *to)
{
    static const char *const names[] = {
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "tokenizer.model",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
        "LICENSE",
        "LICENSE.txt",
        "LICENSE.md",
        "NOTICE",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char source[1200], target[1200];
        struct stat info;
        BEAM_TRY(beam_join_path(source, sizeof source, from, names[i]));
        BEAM_TRY(beam_join_path(target, sizeof target, to, names[i]));
        /* A link could bring any file of this machine into a folder that is then published. */
        if (lstat(source, &info) == 0 && S_ISLNK(info.st_mode))
            return BEAM_FAIL(BEAM_EMODEL,
                             "%s: is a symbolic link; links inside a model folder are not followed: copy the "
                             "files (huggingface-cli download --local-dir)",
                             source);
        if (beam_file_exists(source))
            BEAM_TRY(beam_file_copy(source, target));
    }
    return BEAM_OK;
}
