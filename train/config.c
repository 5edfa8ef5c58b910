/* Puts a configuration together: defaults, file, command line, and the rules between keys. */
#include "train/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "data/file.h"
#include "train/config_load.h"
#include "train/protect.h"

enum { PLACE_MAX = BEAM_PATH_MAX + 32 };

const char *beam_place_text(beam_place place, char *text, size_t size)
{
    if (place.line > 0)
        snprintf(text, size, "%s:%d:%d", place.file, place.line, place.column);
    else
        snprintf(text, size, "command line");
    return text;
}

beam_status beam_draft_unknown(const char *name, beam_place place)
{
    char where[PLACE_MAX];
    beam_place_text(place, where, sizeof where);
    const char *nearest = beam_key_nearest(name);
    if (nearest)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: unknown key \"%.200s\"; did you mean \"%s\"?", where, name,
                         nearest);
    return BEAM_FAIL(BEAM_ECONFIG, "%s: unknown key \"%.200s\"; `beam validate --reference` lists all keys",
                     where, name);
}

static beam_status set_origin(beam_config_draft *draft, int i, beam_place place)
{
    char text[PLACE_MAX];
    if (place.line > 0)
        snprintf(text, sizeof text, "%s:%d", place.file, place.line);
    else
        snprintf(text, sizeof text, "command line");
    free(draft->origins[i]);
    draft->origins[i] = strdup(text);
    if (!draft->origins[i])
        return BEAM_FAIL(BEAM_ENOMEM, "out of memory while reading the configuration");
    return BEAM_OK;
}

beam_status beam_draft_set(beam_config_draft *draft, const char *name, const char *value, beam_place named,
                           beam_place said)
{
    char where[PLACE_MAX], expected[256];
    beam_place_text(named, where, sizeof where);
    bool alias;
    const int i = beam_key_find(name, &alias);
    if (i < 0)
        return beam_draft_unknown(name, named);
    const beam_key *key = &beam_key_table[i];
    if (alias)
        beam_warn("%s: \"%s\" is taken as \"%s\", its name here", where, name, key->name);
    if (named.line > 0 && draft->origins[i])
        return BEAM_FAIL(BEAM_ECONFIG, "%s: duplicate key \"%s\", already given at %s; remove one of them",
                         where, name, draft->origins[i]);
    if (!beam_key_parse(key, value, draft->config))
        return BEAM_FAIL(BEAM_ECONFIG, "%s: %s must be %s, not \"%.80s\"",
                         beam_place_text(said, where, sizeof where), key->name,
                         beam_key_expects(key, expected, sizeof expected), value);
    draft->given[i] = value != NULL;
    return set_origin(draft, i, named);
}

/* One override without its leading dashes. `value` NULL: it stands behind the '=' in `text`. */
static beam_status override_one(beam_config_draft *draft, const char *text, const char *value)
{
    char name[256];
    const size_t n = value ? strlen(text) : strcspn(text, "=");
    const beam_place here = {.line = 0};
    if (!value && text[n] != '=')
        return BEAM_FAIL(BEAM_ECONFIG, "command line: expected key=value, found \"%.200s\"", text);
    if (n >= sizeof name)
        return beam_draft_unknown(text, here);
    for (size_t i = 0; i < n; i++)
        name[i] = text[i] == '-' ? '_' : text[i];
    name[n] = '\0';
    const char *said = value ? value : text + n + 1;
    const bool null = !*said || strcmp(said, "null") == 0;
    return beam_draft_set(draft, name, null ? NULL : said, here, here);
}

static beam_status override_all(beam_config_draft *draft, const char *const overrides[], int n)
{
    for (int i = 0; i < n; i++) {
        const bool dashes = strncmp(overrides[i], "--", 2) == 0;
        if (!dashes || strchr(overrides[i], '=')) {
            BEAM_TRY(override_one(draft, overrides[i] + (dashes ? 2 : 0), NULL));
            continue;
        }
        if (i + 1 == n)
            return BEAM_FAIL(BEAM_ECONFIG, "command line: %.200s has no value; write %.200s=VALUE",
                             overrides[i], overrides[i]);
        BEAM_TRY(override_one(draft, overrides[i] + 2, overrides[i + 1]));
        i++;
    }
    return BEAM_OK;
}

/* Where a key's value comes from, for messages about several keys. */
static const char *origin(const beam_config_draft *draft, const char *name)
{
    bool alias;
    const int i = beam_key_find(name, &alias);
    return draft->origins[i] ? draft->origins[i] : "default";
}

static bool given(const beam_config_draft *draft, const char *name)
{
    bool alias;
    return draft->given[beam_key_find(name, &alias)];
}

static beam_status check_required(const beam_config_draft *draft, const char *path)
{
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        if (key->flags & BEAM_KEY_REQUIRED && !((const char *)draft->config)[key->offset])
            return BEAM_FAIL(BEAM_ECONFIG, "%s: %s is missing; add a line `%s: PATH`", path, key->name,
                             key->name);
    }
    return BEAM_OK;
}

/* One of a fixed penalty and a target; the penalty's default counts if neither is given. */
static beam_status check_penalty(beam_config_draft *draft)
{
    if (!given(draft, "mask.target_active"))
        return BEAM_OK;
    if (given(draft, "mask.penalty"))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: mask.target_active cannot be combined with mask.penalty (%s); keep one of them "
                         "(mask.penalty=null on the command line drops the one in the file)",
                         origin(draft, "mask.target_active"), origin(draft, "mask.penalty"));
    draft->config->mask.penalty = NAN;
    return BEAM_OK;
}

/* A baseline of its own: masks would hide what it saves. */
static beam_status check_nulls(const beam_config_draft *draft)
{
    const beam_config *c = draft->config;
    if (c->mask.mode != BEAM_MASK_OFF)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: null_experts is for a model without masks; set mask.mode: off",
                         origin(draft, "null_experts"));
    if (c->trainable == BEAM_TRAIN_MASKS)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: null_experts needs routers that train, but trainable is masks (%s); set "
                         "trainable: masks+router, or all",
                         origin(draft, "null_experts"), origin(draft, "trainable"));
    return BEAM_OK;
}

static beam_status check_masks(const beam_config_draft *draft)
{
    const beam_config *c = draft->config;
    if (c->null_experts > 0)
        BEAM_TRY(check_nulls(draft));
    else if (c->mask.mode == BEAM_MASK_OFF && c->trainable != BEAM_TRAIN_ALL)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "%s: mask.mode is off and trainable (%s) is not all: there are no masks to train; set "
            "trainable: all, or mask.mode: on",
            origin(draft, "mask.mode"), origin(draft, "trainable"));
    if (c->distill.weight > 0 && c->mask.mode == BEAM_MASK_OFF)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: distill.weight needs masks, which learn from the base model; set mask.mode: on",
                         origin(draft, "distill.weight"));
    if (c->distill.weight > 0 && c->trainable == BEAM_TRAIN_ALL)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "%s: distill.weight needs trainable: masks, or masks+router: the teacher is the base model "
            "with all masks open, and there is no second copy of its experts",
            origin(draft, "distill.weight"));
    return BEAM_OK;
}

static beam_status check_protect(const beam_config_draft *draft)
{
    const beam_config *c = draft->config;
    const char *where = origin(draft, "mask.protect");
    beam_protect protect;
    BEAM_TRY(beam_protect_parse(c->mask.protect, where, &protect));
    if (!protect.automatic && protect.n == 0)
        return BEAM_OK;
    if (c->mask.mode == BEAM_MASK_OFF)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: mask.protect needs masks, but mask.mode is off (%s)", where,
                         origin(draft, "mask.mode"));
    if (c->mask.init != BEAM_INIT_OPEN && isnan(c->mask.target_active))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: mask.protect works through the gates' bias, which mask.init: zero (%s) leaves "
                         "out; use mask.init: open",
                         where, origin(draft, "mask.init"));
    return BEAM_OK;
}

/* Sums of gradients, moments and checkpoints know parameters that all ranks have. */
static beam_status check_experts(const beam_config_draft *draft)
{
    const beam_config *c = draft->config;
    if (c->expert_parallel == 1 || c->trainable != BEAM_TRAIN_ALL)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG,
                     "%s: expert_parallel above 1 leaves experts as they are, but trainable is all (%s); set "
                     "trainable: masks or masks+router, or expert_parallel: 1",
                     origin(draft, "expert_parallel"), origin(draft, "trainable"));
}

static beam_status check_rates(const beam_config_draft *draft)
{
    const beam_config *c = draft->config;
    if (c->base_lr_ratio == 1 || c->trainable != BEAM_TRAIN_MASKS)
        return BEAM_OK;
    return BEAM_FAIL(
        BEAM_ECONFIG,
        "%s: base_lr_ratio is for a base model that trains, but trainable is masks (%s); set trainable: "
        "masks+router, or all, or leave it out (base_lr_ratio=null on the command line drops the one in "
        "the file)",
        origin(draft, "base_lr_ratio"), origin(draft, "trainable"));
}

static beam_status check_together(beam_config_draft *draft, const char *path)
{
    const beam_config *c = draft->config;
    BEAM_TRY(check_required(draft, path));
    BEAM_TRY(check_penalty(draft));
    BEAM_TRY(check_masks(draft));
    BEAM_TRY(check_protect(draft));
    BEAM_TRY(check_experts(draft));
    BEAM_TRY(check_rates(draft));
    if (c->max_steps == 0 && !(c->num_train_epochs > 0))
        return BEAM_FAIL(BEAM_ECONFIG, "%s: num_train_epochs is 0 and so is max_steps; set one of them",
                         origin(draft, "num_train_epochs"));
    if (c->eval_steps > 0 && !c->eval_dataset[0])
        return BEAM_FAIL(BEAM_ECONFIG, "%s: eval_steps needs eval_dataset, which is not set",
                         origin(draft, "eval_steps"));
    return BEAM_OK;
}

static beam_status fill(beam_config_draft *draft, const char *path, const char *const overrides[], int n)
{
    memset(draft->config, 0, sizeof *draft->config);
    for (int i = 0; i < BEAM_KEYS; i++)
        BEAM_ASSERT(beam_key_parse(&beam_key_table[i], NULL, draft->config));
    if (path)
        BEAM_TRY(beam_draft_read_yaml(draft, path));
    BEAM_TRY(override_all(draft, overrides, n));
    BEAM_TRY(check_together(draft, path ? path : "command line"));
    for (int i = 0; i < BEAM_KEYS; i++)
        if (!draft->origins[i] && !(draft->origins[i] = strdup("default")))
            return BEAM_FAIL(BEAM_ENOMEM, "out of memory while reading the configuration");
    return BEAM_OK;
}

beam_status beam_config_load(const char *path, const char *const overrides[], int n, beam_config *out,
                             char ***origins)
{
    beam_config_draft draft = {.config = out, .origins = calloc(BEAM_KEYS, sizeof(char *))};
    if (origins)
        *origins = NULL;
    if (!draft.origins)
        return BEAM_FAIL(BEAM_ENOMEM, "out of memory while reading the configuration");
    const beam_status s = fill(&draft, path, overrides, n);
    if (s == BEAM_OK && origins)
        *origins = draft.origins;
    else
        beam_config_free_origins(draft.origins);
    return s;
}

void beam_config_free_origins(char **origins)
{
    for (int i = 0; origins && i < BEAM_KEYS; i++)
        free(origins[i]);
    free(origins);
}

/* The lines of all keys that decide numbers and are not at their defaults: a key that a later version adds
 * leaves the hashes of older runs alone. So a default that decides numbers must not change: a run would go on
 * with the new one. New text, which the caller frees. */
static char *decisive_lines(const beam_config *c, size_t *size)
{
    beam_config defaults = {0};
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    BEAM_ASSERT(to);
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        BEAM_ASSERT(beam_key_parse(key, NULL, &defaults));
        if (!(key->flags & BEAM_KEY_NUMBERS) || beam_key_same(key, c, &defaults))
            continue;
        fprintf(to, "%s: ", key->name);
        beam_key_print(key, c, to);
        putc('\n', to);
    }
    const bool written = fclose(to) == 0;
    BEAM_ASSERT(written);
    return text;
}

uint64_t beam_config_hash(const beam_config *c, int ranks)
{
    char hex[BEAM_SHA256_HEX];
    size_t size = 0;
    beam_config whole = *c;
    whole.gradient_accumulation_steps *= ranks;
    char *text = decisive_lines(&whole, &size);
    beam_sha256(text, size, hex);
    free(text);
    return beam_sha256_short(hex);
}
