#include "model/families/keys.h"

#include <stdio.h>
#include <string.h>

static bool has_field(const beam_key_row *r)
{
    return r->kind == BEAM_ROW_INTEGER || r->kind == BEAM_ROW_NUMBER || r->kind == BEAM_ROW_SWITCH;
}

static void store(const beam_key_row *r, double value, void *out)
{
    char *field = (char *)out + r->field;
    if (r->kind == BEAM_ROW_INTEGER)
        *(int64_t *)(void *)field = (int64_t)value;
    else if (r->kind == BEAM_ROW_NUMBER)
        *(double *)(void *)field = value;
    else
        *(bool *)field = value != 0;
}

static beam_status read_value(const beam_json_object *o, const beam_key_row *r, void *out)
{
    void *field = (char *)out + r->field;
    if (r->kind == BEAM_ROW_INTEGER)
        return beam_json_i64(o, r->key, (int64_t)r->min, (int64_t)r->max, field);
    if (r->kind == BEAM_ROW_NUMBER)
        return beam_json_f64(o, r->key, r->min, r->max, field);
    return beam_json_bool(o, r->key, field);
}

static beam_status read_row(const beam_json_object *o, const beam_key_row *r, void *out)
{
    const bool null = beam_json_is_null(o, r->key), nullable = r->flags & BEAM_ROW_NULLABLE;
    if ((r->flags & BEAM_ROW_NEEDED) && !(null && nullable))
        BEAM_TRY(beam_json_require(o, r->key));
    if (r->kind == BEAM_ROW_ONLY)
        return beam_json_only(o, r->key, r->accepted, r->note);
    if (!has_field(r))
        return BEAM_OK;
    if (null && !nullable)
        return BEAM_FAIL(o->error, "%s: \"%s%s\" is null; give it a value or leave the key out", o->path,
                         o->prefix, r->key);
    if (null)
        store(r, 0, out);
    BEAM_TRY(read_value(o, r, out));
    if (r->alias_of && beam_json_has(o, r->key) && beam_json_has(o, r->alias_of) &&
        !beam_json_same(o, r->key, r->alias_of))
        return BEAM_FAIL(o->error, "%s: \"%s%s\" and \"%s%s\" mean the same and differ; remove one", o->path,
                         o->prefix, r->alias_of, o->prefix, r->key);
    return BEAM_OK;
}

static bool matches(const beam_key_row *r, const char *key)
{
    const size_t n = strlen(r->key);
    return r->key[n - 1] == '*' ? strncmp(r->key, key, n - 1) == 0 : strcmp(r->key, key) == 0;
}

typedef struct {
    const beam_key_rows *tables;
    int n;
    const char *of;
} known_keys;

static beam_status refuse_unknown(void *context, const beam_json_object *o, const char *key)
{
    const known_keys *known = context;
    for (int t = 0; t < known->n; t++)
        for (int i = 0; i < known->tables[t].n; i++)
            if (matches(&known->tables[t].at[i], key))
                return BEAM_OK;
    return BEAM_FAIL(
        o->error,
        "%s: beam does not know the key \"%s%.80s\" %s; remove it if it does not change what the "
        "model computes",
        o->path, o->prefix, key, known->of);
}

beam_status beam_keys_read(const beam_json_object *o, const beam_key_rows *tables, int n, const char *of,
                           void *out)
{
    for (int t = 0; t < n; t++)
        for (int i = 0; i < tables[t].n; i++)
            if (has_field(&tables[t].at[i]) && !tables[t].at[i].alias_of)
                store(&tables[t].at[i], tables[t].at[i].absent, out);
    for (int t = 0; t < n; t++)
        for (int i = 0; i < tables[t].n; i++)
            BEAM_TRY(read_row(o, &tables[t].at[i], out));
    known_keys known = {.tables = tables, .n = n, .of = of};
    return beam_json_each(o, &known, refuse_unknown);
}

static void describe_field(const beam_key_row *r, char *text, size_t size)
{
    char absent[32];
    if (r->flags & BEAM_ROW_NEEDED)
        snprintf(absent, sizeof absent, "required");
    else if (r->kind == BEAM_ROW_SWITCH)
        snprintf(absent, sizeof absent, "default %s", r->absent != 0 ? "true" : "false");
    else if ((r->flags & BEAM_ROW_NULLABLE) && r->absent == 0)
        snprintf(absent, sizeof absent, "default null");
    else
        snprintf(absent, sizeof absent, "default %.10g", r->absent);
    if (r->kind == BEAM_ROW_SWITCH)
        snprintf(text, size, "true or false; %s", absent);
    else
        snprintf(text, size, "%.10g to %.10g%s; %s", r->min, r->max,
                 r->flags & BEAM_ROW_NULLABLE ? " or null" : "", absent);
}

beam_family_key beam_key_describe(const beam_key_row *r)
{
    beam_family_key k = {.key = r->key, .treatment = BEAM_KEY_USED, .note = r->note};
    if (r->kind == BEAM_ROW_UNUSED)
        k.treatment = BEAM_KEY_IGNORED;
    else if (r->kind == BEAM_ROW_ONLY)
        k.treatment = BEAM_KEY_FIXED;
    if (r->alias_of)
        snprintf(k.value, sizeof k.value, "another name of %s", r->alias_of);
    else if (has_field(r))
        describe_field(r, k.value, sizeof k.value);
    else
        snprintf(k.value, sizeof k.value, "%s", r->accepted ? r->accepted : "");
    return k;
}
