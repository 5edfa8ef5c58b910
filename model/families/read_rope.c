/* Rotary positions as transformers' modeling_rope_utils reads them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/families/readers.h"

/* The keys of rope_scaling and rope_parameters; 0 for numbers that are absent or null. */
typedef struct {
    double theta, factor, beta_fast, beta_slow, attention_factor, mscale, mscale_all_dim;
    int64_t original_positions;
    bool truncate;
} rope_keys;

typedef struct {
    beam_rope_config rope;
    double score_factor;
} rope_result;

enum { MOST_FACTOR = 1000000 };
#define LEAST_THETA 2.0
#define MOST_THETA  1e12

#define NUMBER(...) BEAM_ROW_OF(BEAM_ROW_NUMBER, rope_keys, __VA_ARGS__)

static const beam_key_row every_type[] = {
    {.key = "rope_type", .kind = BEAM_ROW_JOINT},
    {.key = "type", .kind = BEAM_ROW_JOINT},
    NUMBER("rope_theta", theta, LEAST_THETA, MOST_THETA, 0, .note = "base of the frequencies"),
    {.key = "partial_rotary_factor",
     .kind = BEAM_ROW_ONLY,
     .accepted = "1",
     .note = "all numbers of a head rotate"},
};
static const beam_key_row linear[] = {
    NUMBER("factor", factor, 1, MOST_FACTOR, 0, .flags = BEAM_ROW_NEEDED),
};
/* A factor of null is the ratio of the context lengths after and before. */
static const beam_key_row yarn[] = {
    NUMBER("factor", factor, 1, MOST_FACTOR, 0, .flags = BEAM_ROW_NEEDED | BEAM_ROW_NULLABLE),
    NUMBER("beta_fast", beta_fast, 1e-3, 1e6, 0, .flags = BEAM_ROW_NULLABLE),
    NUMBER("beta_slow", beta_slow, 1e-3, 1e6, 0, .flags = BEAM_ROW_NULLABLE),
    NUMBER("attention_factor", attention_factor, 1e-6, 1e6, 0, .flags = BEAM_ROW_NULLABLE),
    NUMBER("mscale", mscale, 0, 1000, 0, .flags = BEAM_ROW_NULLABLE),
    NUMBER("mscale_all_dim", mscale_all_dim, 0, 1000, 0, .flags = BEAM_ROW_NULLABLE),
    BEAM_ROW_OF(BEAM_ROW_INTEGER, rope_keys, "original_max_position_embeddings", original_positions, 1,
                BEAM_MOST_POSITIONS, 0, .note = "context before; absent: max_position_embeddings"),
    BEAM_ROW_OF(BEAM_ROW_SWITCH, rope_keys, "truncate", truncate, 0, 1, 1, .flags = BEAM_ROW_NULLABLE),
};

/* YaRN's growth of scores with the context's length. */
static double mscale(double factor, double strength)
{
    return factor <= 1 ? 1 : 0.1 * strength * log(factor) + 1;
}

static void settle_yarn(const rope_keys *k, const beam_model_config *c, rope_result *r)
{
    beam_rope_config *rope = &r->rope;
    rope->original_positions = k->original_positions > 0 ? k->original_positions : c->max_positions;
    rope->factor = k->factor > 0 ? k->factor : (double)c->max_positions / (double)rope->original_positions;
    rope->beta_fast = k->beta_fast > 0 ? k->beta_fast : 32;
    rope->beta_slow = k->beta_slow > 0 ? k->beta_slow : 1;
    rope->truncate = k->truncate;
    if (k->attention_factor > 0)
        rope->amplitude = k->attention_factor;
    else if (k->mscale > 0 && k->mscale_all_dim > 0)
        rope->amplitude = mscale(rope->factor, k->mscale) / mscale(rope->factor, k->mscale_all_dim);
    else
        rope->amplitude = mscale(rope->factor, 1);
    if (k->mscale_all_dim > 0) {
        const double m = mscale(rope->factor, k->mscale_all_dim);
        r->score_factor = m * m;
    }
}

static const struct {
    const char *name;
    enum beam_rope_kind kind;
    beam_key_rows keys;
} types[] = {
    {"default", BEAM_ROPE_PLAIN, {0}},
    {"linear", BEAM_ROPE_LINEAR, BEAM_ROWS(linear)},
    {"yarn", BEAM_ROPE_YARN, BEAM_ROWS(yarn)},
};
enum { TYPES = sizeof types / sizeof *types };

/* `rope_type`, or `type` as it was called before; a plain rotation if neither is there. */
static beam_status find_type(const beam_json_object *o, int *type)
{
    const char *key = beam_json_has(o, "rope_type") ? "rope_type" : "type";
    char name[64] = "default", shown[64];
    if (beam_json_has(o, "rope_type") && beam_json_has(o, "type") && !beam_json_same(o, "rope_type", "type"))
        return BEAM_FAIL(o->error, "%s: \"%srope_type\" and \"%stype\" differ; remove one", o->path,
                         o->prefix, o->prefix);
    BEAM_TRY(beam_json_text(o, key, name, sizeof name));
    for (*type = 0; *type < TYPES; ++*type)
        if (strcmp(types[*type].name, name) == 0)
            return BEAM_OK;
    return BEAM_FAIL(o->error, "%s: \"%s%s\" is %s; beam implements \"default\", \"linear\" and \"yarn\"",
                     o->path, o->prefix, key, beam_json_show_key(o, key, shown));
}

/* The object at `key`; `top_theta` is the file's own rope_theta, or 0. */
static beam_status read_object(const beam_json_object *o, const char *key, double top_theta,
                               const beam_model_config *c, rope_result *r)
{
    char prefix[32], of[32];
    const json_t *child;
    int type;
    BEAM_TRY(beam_json_child(o, key, &child));
    snprintf(prefix, sizeof prefix, "%s.", key);
    const beam_json_object rope = {.json = child, .path = o->path, .prefix = prefix, .error = o->error};
    BEAM_TRY(find_type(&rope, &type));
    snprintf(of, sizeof of, "of rope_type %s", types[type].name);
    const beam_key_rows tables[] = {BEAM_ROWS(every_type), types[type].keys};
    rope_keys k;
    BEAM_TRY(beam_keys_read(&rope, tables, 2, of, &k));
    if (top_theta > 0 && k.theta > 0 && top_theta != k.theta)
        return BEAM_FAIL(o->error, "%s: \"rope_theta\" is %g and \"%s.rope_theta\" is %g; remove one",
                         o->path, top_theta, key, k.theta);
    r->rope.kind = types[type].kind;
    r->rope.theta = k.theta > 0 ? k.theta : r->rope.theta;
    if (r->rope.kind == BEAM_ROPE_LINEAR)
        r->rope.factor = k.factor;
    else if (r->rope.kind == BEAM_ROPE_YARN)
        settle_yarn(&k, c, r);
    return BEAM_OK;
}

static bool same(const rope_result *x, const rope_result *y)
{
    const beam_rope_config *a = &x->rope, *b = &y->rope;
    return a->kind == b->kind && a->theta == b->theta && a->factor == b->factor &&
           a->beta_fast == b->beta_fast && a->beta_slow == b->beta_slow && a->truncate == b->truncate &&
           a->original_positions == b->original_positions && a->amplitude == b->amplitude &&
           x->score_factor == y->score_factor;
}

beam_status beam_read_rope(const beam_json_object *o, double theta, beam_model_config *c,
                           double *score_factor)
{
    double top = 0;
    BEAM_TRY(beam_json_f64(o, "rope_theta", LEAST_THETA, MOST_THETA, &top));
    const rope_result plain = {
        .rope = {.kind = BEAM_ROPE_PLAIN, .theta = top > 0 ? top : theta, .factor = 1, .amplitude = 1},
        .score_factor = 1};
    rope_result older = plain, newer = plain;
    const bool has_older = beam_json_has(o, "rope_scaling"), has_newer = beam_json_has(o, "rope_parameters");
    if (has_older)
        BEAM_TRY(read_object(o, "rope_scaling", top, c, &older));
    if (has_newer)
        BEAM_TRY(read_object(o, "rope_parameters", top, c, &newer));
    if (has_older && has_newer && !same(&older, &newer))
        return BEAM_FAIL(o->error, "%s: \"rope_scaling\" and \"rope_parameters\" differ; remove one",
                         o->path);
    const rope_result *r = has_newer ? &newer : &older;
    c->rope = r->rope;
    *score_factor = r->score_factor;
    return BEAM_OK;
}
