#include "data/json.h"

#include <stdlib.h>
#include <string.h>

#include "data/file.h"

enum { MAX_DEPTH = 16 };

const char beam_json_no_memory[] = "no memory to parse it";

/* An upper bound of the bytes that Jansson takes for what begins with this character, or follows it. */
static size_t cost_of(char c)
{
    switch (c) {
    case '{':
        return 256;
    case '[':
        return 128;
    case ':':
        return 96;
    case ',':
        return 64;
    case '"':
        return 32;
    default:
        return 0;
    }
}

/* *memory: an upper bound of what parsing takes. Returns why the text must not be parsed, or NULL. */
static const char *measure(const char *bytes, size_t size, int max_depth, size_t *memory)
{
    enum { START = 4096, STRING_COST = 4 }; /* a byte of text: a buffer that doubles, and two copies */
    int64_t depth = 0;
    bool in_string = false;
    *memory = START;
    for (size_t i = 0; i < size; i++) {
        const char c = bytes[i];
        if (in_string) {
            *memory += STRING_COST;
            if (c == '\\')
                i++, *memory += STRING_COST;
            else if (c == '"')
                in_string = false;
        } else {
            in_string = c == '"';
            *memory += cost_of(c);
            depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        }
        if (depth > max_depth)
            return "JSON nested too deep";
        if (*memory > BEAM_JSON_MEMORY)
            return "JSON with too many values";
    }
    return NULL;
}

json_t *beam_json_load(const char *bytes, size_t size, int max_depth, size_t flags, json_error_t *wrong,
                       const char **excess)
{
    size_t memory;
    *excess = measure(bytes, size, max_depth, &memory);
    if (*excess)
        return NULL;
    void *volatile enough = malloc(memory); /* volatile: a compiler may leave out what is freed at once */
    const bool there = enough != NULL;
    free(enough);
    if (there)
        return json_loadb(bytes, size, flags | JSON_REJECT_DUPLICATES, wrong);
    *excess = beam_json_no_memory;
    return NULL;
}

beam_status beam_json_parse(const char *path, const char *bytes, size_t size, beam_status error, json_t **out)
{
    *out = NULL;
    json_error_t wrong;
    const char *excess;
    json_t *root = beam_json_load(bytes, size, MAX_DEPTH, 0, &wrong, &excess);
    if (excess == beam_json_no_memory)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to parse it", path);
    if (excess)
        return BEAM_FAIL(error, "%s: %s; at most %d levels and %d MiB of memory are accepted", path, excess,
                         MAX_DEPTH, BEAM_JSON_MEMORY >> 20);
    if (!root)
        return BEAM_FAIL(error, "%s:%d:%d: not valid JSON: %s", path, wrong.line, wrong.column, wrong.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return BEAM_FAIL(error, "%s: a JSON object {...} is expected at the top", path);
    }
    *out = root;
    return BEAM_OK;
}

beam_status beam_json_read(const char *path, size_t limit, beam_status error, json_t **out)
{
    char *bytes;
    size_t size;
    *out = NULL;
    BEAM_TRY(beam_file_read(path, limit, &bytes, &size));
    const beam_status s = beam_json_parse(path, bytes, size, error, out);
    free(bytes);
    return s;
}

void beam_json_free(json_t *root)
{
    json_decref(root);
}

const char *beam_json_show(const json_t *value, char buffer[64])
{
    enum { SHOWN = 60 };
    /* Escapes keep control characters of a hostile file off the terminal. */
    const size_t n =
        value ? json_dumpb(value, buffer, SHOWN, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : 0;
    if (!value)
        snprintf(buffer, 64, "absent");
    else if (n == 0 || n > SHOWN)
        snprintf(buffer, 64,
                 json_is_object(value)  ? "{...}"
                 : json_is_array(value) ? "[...]"
                                        : "a long value");
    else
        buffer[n] = '\0';
    return buffer;
}

/* The value, or NULL if it is absent or null. */
static const json_t *value_of(const beam_json_object *o, const char *key)
{
    const json_t *value = json_object_get(o->json, key);
    return json_is_null(value) ? NULL : value;
}

beam_status beam_json_require(const beam_json_object *o, const char *key)
{
    if (!value_of(o, key))
        return BEAM_FAIL(o->error, "%s: the key \"%s%s\" is missing", o->path, o->prefix, key);
    return BEAM_OK;
}

static beam_status wrong_value(const beam_json_object *o, const char *key, const json_t *value,
                               const char *expected)
{
    char found[64];
    return BEAM_FAIL(o->error, "%s: \"%s%s\" is %s; expected %s", o->path, o->prefix, key,
                     beam_json_show(value, found), expected);
}

const char *beam_json_show_key(const beam_json_object *o, const char *key, char buffer[64])
{
    return beam_json_show(json_object_get(o->json, key), buffer);
}

static beam_status read_i64(const beam_json_object *o, const char *key, const json_t *value, int64_t min,
                            int64_t max, int64_t *out)
{
    const int64_t x = json_integer_value(value);
    if (!json_is_integer(value) || x < min || x > max) {
        char expected[96];
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)min, (long long)max);
        return wrong_value(o, key, value, expected);
    }
    *out = x;
    return BEAM_OK;
}

static beam_status read_text(const beam_json_object *o, const char *key, const json_t *value, char *out,
                             size_t size)
{
    if (!json_is_string(value) || json_string_length(value) >= size) {
        char expected[96];
        snprintf(expected, sizeof expected, "a text of at most %zu bytes", size - 1);
        return wrong_value(o, key, value, expected);
    }
    memcpy(out, json_string_value(value), json_string_length(value) + 1);
    return BEAM_OK;
}

beam_status beam_json_i64(const beam_json_object *o, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *value = value_of(o, key);
    return value ? read_i64(o, key, value, min, max, out) : BEAM_OK;
}

beam_status beam_json_f64(const beam_json_object *o, const char *key, double min, double max, double *out)
{
    const json_t *value = value_of(o, key);
    if (!value)
        return BEAM_OK;
    const double x = json_number_value(value);
    if (!json_is_number(value) || !(x >= min && x <= max)) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
        return wrong_value(o, key, value, expected);
    }
    *out = x;
    return BEAM_OK;
}

beam_status beam_json_bool(const beam_json_object *o, const char *key, bool *out)
{
    const json_t *value = value_of(o, key);
    if (!value)
        return BEAM_OK;
    if (!json_is_boolean(value))
        return wrong_value(o, key, value, "true or false");
    *out = json_is_true(value);
    return BEAM_OK;
}

beam_status beam_json_text(const beam_json_object *o, const char *key, char *out, size_t size)
{
    const json_t *value = value_of(o, key);
    return value ? read_text(o, key, value, out, size) : BEAM_OK;
}

beam_status beam_json_child(const beam_json_object *o, const char *key, const json_t **out)
{
    *out = value_of(o, key);
    if (*out && !json_is_object(*out))
        return wrong_value(o, key, *out, "an object {...}");
    return BEAM_OK;
}

bool beam_json_has(const beam_json_object *o, const char *key)
{
    return value_of(o, key) != NULL;
}

bool beam_json_is_null(const beam_json_object *o, const char *key)
{
    return json_is_null(json_object_get(o->json, key));
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

bool beam_json_same(const beam_json_object *o, const char *key, const char *other)
{
    return same(json_object_get(o->json, key), json_object_get(o->json, other));
}

beam_status beam_json_only(const beam_json_object *o, const char *key, const char *accepted, const char *why)
{
    char found[64];
    const json_t *value = value_of(o, key);
    if (!value)
        return BEAM_OK;
    json_t *wanted = json_loads(accepted, JSON_DECODE_ANY, NULL);
    if (!wanted)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to check \"%s%s\"", o->path, o->prefix, key);
    const bool fits = same(value, wanted);
    json_decref(wanted);
    if (fits)
        return BEAM_OK;
    return BEAM_FAIL(o->error, "%s: \"%s%s\" is %s; beam implements %s (%s)", o->path, o->prefix, key,
                     beam_json_show(value, found), accepted, why);
}

bool beam_json_is_list(const beam_json_object *o, const char *key)
{
    return json_is_array(json_object_get(o->json, key));
}

beam_status beam_json_length(const beam_json_object *o, const char *key, size_t *n)
{
    const json_t *value = value_of(o, key);
    *n = json_array_size(value);
    return !value || json_is_array(value) ? BEAM_OK : wrong_value(o, key, value, "a list [...]");
}

/* "mlp_only_layers[3]" for messages. */
static const char *name_entry(char name[80], const char *key, size_t i)
{
    snprintf(name, 80, "%.50s[%zu]", key, i);
    return name;
}

beam_status beam_json_i64_at(const beam_json_object *o, const char *key, size_t i, int64_t min, int64_t max,
                             int64_t *out)
{
    char name[80];
    const json_t *value = json_array_get(json_object_get(o->json, key), i);
    return read_i64(o, name_entry(name, key, i), value, min, max, out);
}

beam_status beam_json_text_at(const beam_json_object *o, const char *key, size_t i, char *out, size_t size)
{
    char name[80];
    const json_t *value = json_array_get(json_object_get(o->json, key), i);
    return read_text(o, name_entry(name, key, i), value, out, size);
}

beam_status beam_json_each(const beam_json_object *o, void *context,
                           beam_status (*visit)(void *context, const beam_json_object *o, const char *key))
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)o->json, key, value)
    {
        if (!json_is_null(value))
            BEAM_TRY(visit(context, o, key));
    }
    return BEAM_OK;
}
