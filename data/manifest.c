#include "data/manifest.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "data/json.h"
#include "data/text.h"

enum { VERSION = 1, LIMIT = 1 << 20, BITS_HEX = 17 };

static const char format[] = "beam checkpoint";

/* The scalars of beam_checkpoint_state. Doubles are stored as their 64 bits: no printing or reading of
 * decimals can change them, and NaN and infinities, which JSON lacks, survive too. */
typedef enum { COUNT, BITS, BITS_OR_NAN } scalar_kind; /* the last may be absent: it came later */
static const struct {
    const char *key;
    scalar_kind kind;
    size_t offset;
} scalars[] = {
    {"step", COUNT, offsetof(beam_checkpoint_state, step)},
    {"rows", COUNT, offsetof(beam_checkpoint_state, rows)},
    {"tokens", COUNT, offsetof(beam_checkpoint_state, tokens)},
    {"skipped", COUNT, offsetof(beam_checkpoint_state, skipped)},
    {"skipped_in_a_row", COUNT, offsetof(beam_checkpoint_state, skipped_in_a_row)},
    {"penalty", BITS, offsetof(beam_checkpoint_state, penalty)},
    {"average_active", BITS, offsetof(beam_checkpoint_state, average_active)},
    {"seconds", BITS, offsetof(beam_checkpoint_state, seconds)},
    {"best_loss", BITS, offsetof(beam_checkpoint_state, best_loss)},
    {"eval_loss", BITS_OR_NAN, offsetof(beam_checkpoint_state, eval_loss)},
    {"model_hash", BITS, offsetof(beam_checkpoint_state, model_hash)},
    {"data_hash", BITS, offsetof(beam_checkpoint_state, data_hash)},
    {"config_hash", BITS, offsetof(beam_checkpoint_state, config_hash)},
};
enum { SCALARS = sizeof scalars / sizeof scalars[0] };

const char *beam_manifest_file_name(int file)
{
    static const char *const name[BEAM_CHECKPOINT_FILES] = {
        [BEAM_STATE_H5] = "state.h5", [BEAM_CONFIG_YAML] = "config.yaml"};
    return name[file];
}

static json_t *pack_state(const beam_checkpoint_state *state)
{
    json_t *o = json_object();
    int bad = o == NULL;
    for (int i = 0; i < SCALARS && !bad; i++) {
        uint64_t bits;
        char text[BITS_HEX];
        memcpy(&bits, (const char *)state + scalars[i].offset, sizeof bits);
        snprintf(text, sizeof text, "%016llx", (unsigned long long)bits);
        bad = json_object_set_new(
            o, scalars[i].key, scalars[i].kind == COUNT ? json_integer((json_int_t)bits) : json_string(text));
    }
    if (bad || json_object_set_new(o, "model", json_string(state->model)) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *pack_files(const beam_manifest *m)
{
    json_t *o = json_object();
    int bad = o == NULL;
    for (int i = 0; i < BEAM_CHECKPOINT_FILES && !bad; i++)
        bad = json_object_set_new(
            o, beam_manifest_file_name(i),
            json_pack("{s:I, s:s}", "size", (json_int_t)m->file[i].size, "sha256", m->file[i].sha256));
    if (bad) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* SHA-256 of everything but the key "sha256", in one canonical spelling. */
static bool hash_content(json_t *root, char hex[BEAM_SHA256_HEX])
{
    json_t *content = json_copy(root);
    if (!content)
        return false;
    json_object_del(content, "sha256");
    char *text = json_dumps(content, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(content);
    if (!text)
        return false;
    beam_sha256(text, strlen(text), hex);
    free(text);
    return true;
}

/* The manifest as text in new memory; NULL without memory. */
static char *to_text(const beam_manifest *m)
{
    char hex[BEAM_SHA256_HEX];
    json_t *root = json_pack("{s:s, s:i, s:o, s:o}", "format", format, "version", VERSION, "state",
                             pack_state(&m->state), "files", pack_files(m));
    char *text = NULL;
    if (root && hash_content(root, hex) && json_object_set_new(root, "sha256", json_string(hex)) == 0)
        text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

beam_status beam_manifest_write(const char *folder, const beam_manifest *m)
{
    char path[1024];
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "manifest.json"));
    if (!beam_is_utf8(m->state.model, strlen(m->state.model)))
        return BEAM_FAIL(BEAM_ECONFIG, "%s: the model's path is not UTF-8 and cannot be recorded; rename it",
                         path);
    char *text = to_text(m);
    if (!text)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for it", path);
    const beam_status s = beam_file_write(path, text, strlen(text));
    free(text);
    return s;
}

static beam_status unpack_bits(const beam_json_object *o, const char *key, uint64_t *out)
{
    char text[BITS_HEX] = "";
    BEAM_TRY(beam_json_text(o, key, text, sizeof text));
    if (strspn(text, "0123456789abcdef") != BITS_HEX - 1)
        return BEAM_FAIL(o->error, "%s: \"%s%s\" is not 16 hexadecimal digits", o->path, o->prefix, key);
    *out = strtoull(text, NULL, 16);
    return BEAM_OK;
}

static beam_status unpack_state(const beam_json_object *o, beam_checkpoint_state *state)
{
    for (int i = 0; i < SCALARS; i++) {
        int64_t count = 0;
        uint64_t bits = 0;
        if (scalars[i].kind == BITS_OR_NAN && !json_object_get(o->json, scalars[i].key)) {
            const double unknown = NAN;
            memcpy(&bits, &unknown, sizeof bits);
        } else if (scalars[i].kind == COUNT) {
            BEAM_TRY(beam_json_require(o, scalars[i].key));
            BEAM_TRY(beam_json_i64(o, scalars[i].key, 0, INT64_MAX, &count));
            bits = (uint64_t)count;
        } else {
            BEAM_TRY(beam_json_require(o, scalars[i].key));
            BEAM_TRY(unpack_bits(o, scalars[i].key, &bits));
        }
        memcpy((char *)state + scalars[i].offset, &bits, sizeof bits);
    }
    BEAM_TRY(beam_json_require(o, "model"));
    BEAM_TRY(beam_json_text(o, "model", state->model, sizeof state->model));
    return BEAM_OK;
}

/* The child object `key`, as a beam_json_object. */
static beam_status enter(const beam_json_object *o, const char *key, const char *prefix,
                         beam_json_object *out)
{
    *out = (beam_json_object){.path = o->path, .prefix = prefix, .error = o->error};
    BEAM_TRY(beam_json_require(o, key));
    BEAM_TRY(beam_json_child(o, key, &out->json));
    return BEAM_OK;
}

static beam_status unpack_files(const beam_json_object *o, beam_manifest *m)
{
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++) {
        beam_json_object file;
        int64_t size = 0;
        char prefix[64];
        snprintf(prefix, sizeof prefix, "files.%s.", beam_manifest_file_name(i));
        BEAM_TRY(enter(o, beam_manifest_file_name(i), prefix, &file));
        BEAM_TRY(beam_json_require(&file, "size"));
        BEAM_TRY(beam_json_require(&file, "sha256"));
        BEAM_TRY(beam_json_i64(&file, "size", 0, INT64_MAX, &size));
        BEAM_TRY(beam_json_text(&file, "sha256", m->file[i].sha256, sizeof m->file[i].sha256));
        m->file[i].size = (uint64_t)size;
    }
    return BEAM_OK;
}

static beam_status unpack(const beam_json_object *o, json_t *root, beam_manifest *m)
{
    char kind[64] = "", claimed[BEAM_SHA256_HEX] = "", hex[BEAM_SHA256_HEX];
    int64_t version = 0;
    beam_json_object state, files;
    BEAM_TRY(beam_json_text(o, "format", kind, sizeof kind));
    BEAM_TRY(beam_json_text(o, "sha256", claimed, sizeof claimed));
    if (strcmp(kind, format) != 0)
        return BEAM_FAIL(o->error, "%s: not the manifest of a beam checkpoint", o->path);
    if (!hash_content(root, hex))
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to verify it", o->path);
    if (strcmp(hex, claimed) != 0)
        return BEAM_FAIL(o->error, "%s: damaged: its content does not match its own SHA-256", o->path);
    BEAM_TRY(beam_json_require(o, "version"));
    BEAM_TRY(beam_json_i64(o, "version", VERSION, VERSION, &version));
    BEAM_TRY(enter(o, "state", "state.", &state));
    BEAM_TRY(enter(o, "files", "files.", &files));
    BEAM_TRY(unpack_state(&state, &m->state));
    BEAM_TRY(unpack_files(&files, m));
    return BEAM_OK;
}

beam_status beam_manifest_read(const char *folder, beam_manifest *out)
{
    char path[1024];
    json_t *root;
    memset(out, 0, sizeof *out);
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "manifest.json"));
    if (!beam_file_exists(path))
        return BEAM_FAIL(BEAM_EMODEL, "%s: has no manifest.json: not a complete checkpoint", folder);
    BEAM_TRY(beam_json_read(path, LIMIT, BEAM_EMODEL, &root));
    const beam_json_object o = {.json = root, .path = path, .prefix = "", .error = BEAM_EMODEL};
    const beam_status s = unpack(&o, root, out);
    json_decref(root);
    return s;
}
