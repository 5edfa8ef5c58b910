#include "train/protect.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/load.h"

/* Far beyond what the other terms of a mask logit reach (a logarithm of at most 88 times a scale near 1), and
 * small enough to stay large in bfloat16 and in half precision. */
static const float held_open = 1e4F;

static bool listed(const beam_protect *p, beam_expert_place place)
{
    for (int i = 0; i < p->n; i++)
        if (p->at[i].layer == place.layer && p->at[i].expert == place.expert)
            return true;
    return false;
}

/* A number without a sign, and what follows it. */
static bool read_index(const char **text, int64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    *out = strtoll(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static bool read_place(const char **text, beam_expert_place *out)
{
    if (!read_index(text, &out->layer) || *(*text)++ != ':')
        return false;
    return read_index(text, &out->expert) && (**text == ' ' || **text == '\0');
}

static beam_status read_list(const char *text, const char *origin, beam_protect *out)
{
    const char *at = text;
    for (at += strspn(at, " "); *at; at += strspn(at, " ")) {
        const char *word = at;
        beam_expert_place place;
        if (!read_place(&at, &place))
            return BEAM_FAIL(BEAM_ECONFIG,
                             "%s: mask.protect: \"%.*s\" is not layer:expert; expected none, auto, or pairs "
                             "of numbers such as \"1:68 2:92\"",
                             origin, (int)strcspn(word, " "), word);
        if (listed(out, place))
            return BEAM_FAIL(BEAM_ECONFIG, "%s: mask.protect names expert %lld of layer %lld twice", origin,
                             (long long)place.expert, (long long)place.layer);
        BEAM_ASSERT(out->n < BEAM_PROTECT_MAX);
        out->at[out->n++] = place;
    }
    return out->n > 0
               ? BEAM_OK
               : BEAM_FAIL(BEAM_ECONFIG,
                           "%s: mask.protect is empty; expected none, auto, or layer:expert pairs", origin);
}

beam_status beam_protect_parse(const char *text, const char *origin, beam_protect *out)
{
    *out = (beam_protect){.automatic = strcmp(text, "auto") == 0};
    return out->automatic || strcmp(text, "none") == 0 ? BEAM_OK : read_list(text, origin, out);
}

void beam_protect_of_profile(const beam_expert_profile *profile, beam_protect *out)
{
    *out = (beam_protect){0};
    for (int64_t i = 0; i < profile->n && out->n < BEAM_PROTECT_MAX; i++)
        if (profile->at[i].super)
            out->at[out->n++] =
                (beam_expert_place){.layer = profile->at[i].layer, .expert = profile->at[i].expert};
}

static beam_status check_place(const beam_model_config *c, beam_expert_place p)
{
    if (p.layer >= c->layers)
        return BEAM_FAIL(BEAM_ECONFIG, "mask.protect: %lld:%lld: the model has layers 0 to %lld",
                         (long long)p.layer, (long long)p.expert, (long long)c->layers - 1);
    if (!c->moe_layer[p.layer])
        return BEAM_FAIL(BEAM_ECONFIG, "mask.protect: %lld:%lld: layer %lld is dense, it has no experts",
                         (long long)p.layer, (long long)p.expert, (long long)p.layer);
    if (p.expert >= c->experts)
        return BEAM_FAIL(BEAM_ECONFIG, "mask.protect: %lld:%lld: a layer has experts 0 to %lld",
                         (long long)p.layer, (long long)p.expert, (long long)c->experts - 1);
    return BEAM_OK;
}

/* The gate's parameter of that layer ("weight", "bias"); NULL if there is none. */
static const beam_param *gate_param(beam_model *m, int64_t layer, const char *part)
{
    const beam_params params = beam_model_params(m);
    char name[BEAM_NAME_MAX];
    snprintf(name, sizeof name, "model.layers.%lld.mlp.mask_gate.%s", (long long)layer, part);
    for (int i = 0; i < params.n; i++)
        if (strcmp(params.at[i].name, name) == 0)
            return &params.at[i];
    return NULL;
}

static beam_status hold_open(beam_model *m, beam_expert_place p)
{
    const beam_param *weight = gate_param(m, p.layer, "weight"), *bias = gate_param(m, p.layer, "bias");
    if (!weight || !bias)
        return BEAM_FAIL(BEAM_EMODEL,
                         "mask.protect needs mask gates with a bias, which this model's do not have: they "
                         "come with mask.init: open");
    beam_backend *be = beam_model_backend(m);
    beam_zero(be, beam_rows(weight->value, p.expert, 1));
    return beam_tensor_set_f32(be, beam_rows(bias->value, p.expert, 1), &held_open);
}

beam_status beam_protect_set(beam_model *m, const beam_protect *protect)
{
    for (int i = 0; i < protect->n; i++)
        BEAM_TRY(check_place(beam_model_config_of(m), protect->at[i]));
    for (int i = 0; i < protect->n; i++)
        BEAM_TRY(hold_open(m, protect->at[i]));
    return BEAM_OK;
}

beam_status beam_protect_check(beam_model *m, const beam_protect *protect, const char *checkpoint)
{
    for (int i = 0; i < protect->n; i++) {
        const beam_expert_place p = protect->at[i];
        BEAM_TRY(check_place(beam_model_config_of(m), p));
        const beam_param *bias = gate_param(m, p.layer, "bias");
        float value = 0;
        if (bias)
            BEAM_TRY(beam_tensor_get_f32(beam_model_backend(m), beam_rows(bias->value, p.expert, 1), &value));
        if (!(value >= held_open))
            return BEAM_FAIL(BEAM_ECONFIG,
                             "%s: was made without protecting expert %lld of layer %lld, which mask.protect "
                             "names now; protection is set when a run starts: use another output_dir",
                             checkpoint, (long long)p.expert, (long long)p.layer);
    }
    return BEAM_OK;
}
