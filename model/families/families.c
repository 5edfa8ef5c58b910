#include "model/families/families.h"

#include <stdio.h>
#include <string.h>

#include "model/families/readers.h"

enum { CONFIG_LIMIT = 1 << 20 }; /* bytes; real ones have a few thousand */

static const beam_family_source *(*const sources[])(void) = {
    beam_family_qwen3_moe, beam_family_qwen2_moe, beam_family_deepseek_v2,
    beam_family_olmoe,     beam_family_mixtral,
};
enum { FAMILIES = sizeof sources / sizeof *sources };

int beam_family_count(void)
{
    return FAMILIES;
}

const beam_family *beam_family_at(int i)
{
    BEAM_ASSERT(i >= 0 && i < FAMILIES);
    return &sources[i]()->family;
}

/* NULL if no family is called so. */
static const beam_family_source *find(const char *model_type)
{
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(sources[i]()->family.model_type, model_type) == 0)
            return sources[i]();
    return NULL;
}

const beam_family *beam_family_of(const beam_model_config *c)
{
    const beam_family_source *s = find(c->model_type);
    BEAM_ASSERT(s);
    return &s->family;
}

bool beam_family_key_at(const beam_family *f, int i, beam_family_key *out)
{
    const beam_family_source *s = find(f->model_type);
    const beam_key_rows common = beam_common_keys();
    BEAM_ASSERT(s && i >= 0);
    if (i >= s->keys.n + common.n)
        return false;
    *out = beam_key_describe(i < s->keys.n ? &s->keys.at[i] : &common.at[i - s->keys.n]);
    return true;
}

static beam_status refuse_family(const beam_json_object *o)
{
    char shown[64], known[160] = "";
    for (int i = 0; i < FAMILIES; i++) {
        const size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", beam_family_at(i)->model_type);
    }
    return BEAM_FAIL(o->error, "%s: \"model_type\" is %s; beam implements %s (docs/families.md)", o->path,
                     beam_json_show_key(o, "model_type", shown), known);
}

static beam_status check_experts(const beam_json_object *o, const beam_model_config *c)
{
    if (c->top_k > c->experts)
        return BEAM_FAIL(o->error,
                         "%s: \"num_experts_per_tok\" (%lld) is larger than the number of experts "
                         "(%lld)",
                         o->path, (long long)c->top_k, (long long)c->experts);
    if (beam_moe_layers(c) == 0)
        return BEAM_FAIL(o->error, "%s: no layer is a mixture of experts; beam has nothing to mask in it",
                         o->path);
    return BEAM_OK;
}

static beam_status read_family(const beam_json_object *o, const beam_family_source *s, beam_model_config *c)
{
    char of[48];
    double score_factor;
    const beam_key_rows tables[] = {beam_common_keys(), s->keys};
    snprintf(of, sizeof of, "of %s", s->family.model_type);
    *c = (beam_model_config){0};
    snprintf(c->model_type, sizeof c->model_type, "%s", s->family.model_type);
    BEAM_TRY(beam_keys_read(o, tables, 2, of, c));
    BEAM_TRY(s->finish(o, c));
    BEAM_TRY(beam_read_rope(o, s->rope_theta, c, &score_factor));
    beam_model_config_complete(c);
    if (s->scaled_scores)
        c->score_scale *= score_factor;
    BEAM_TRY(check_experts(o, c));
    BEAM_TRY(beam_read_eos(o, c));
    return beam_read_mask(o, s->family.architecture, c);
}

/* A masked model's type may have BEAM_MASKED_TYPE in front. */
static beam_status read_object(const beam_json_object *o, beam_model_config *out)
{
    static const size_t prefix = sizeof BEAM_MASKED_TYPE - 1;
    char model_type[sizeof out->model_type + sizeof BEAM_MASKED_TYPE] = "";
    BEAM_TRY(beam_json_require(o, "model_type"));
    const beam_family_source *s = NULL;
    bool masked = false;
    if (beam_json_text(o, "model_type", model_type, sizeof model_type) == BEAM_OK) {
        masked = strncmp(model_type, BEAM_MASKED_TYPE, prefix) == 0;
        s = find(model_type + (masked ? prefix : 0));
    }
    if (!s)
        return refuse_family(o);
    BEAM_TRY(read_family(o, s, out));
    if (masked && !out->mask.present)
        return BEAM_FAIL(o->error,
                         "%s: \"model_type\" is that of a masked model, but \"expert_mask\" is missing",
                         o->path);
    return BEAM_OK;
}

beam_status beam_model_config_read(const char *path, beam_model_config *out)
{
    json_t *root;
    BEAM_TRY(beam_json_read(path, CONFIG_LIMIT, BEAM_EMODEL, &root));
    const beam_json_object o = {.json = root, .path = path, .prefix = "", .error = BEAM_EMODEL};
    const beam_status s = read_object(&o, out);
    beam_json_free(root);
    return s;
}
