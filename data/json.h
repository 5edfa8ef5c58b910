/* JSON objects from outside, over Jansson: bounded, without duplicate keys, and getters whose messages name
 * the file and the key.
 *
 *     json_t *root;
 *     BEAM_TRY(beam_json_read(path, 1 << 20, BEAM_EMODEL, &root));
 *     const beam_json_object o = {.json = root, .path = path, .prefix = "", .error = BEAM_EMODEL};
 *     int64_t layers = 12;                                  // the default
 *     s = beam_json_i64(&o, "num_hidden_layers", 1, 512, &layers);
 *     beam_json_free(root);
 */
#ifndef BEAM_DATA_JSON_H
#define BEAM_DATA_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Memory that the values of one text may take, estimated before Jansson allocates: empty objects would become
 * a hundred times larger than their text. A safetensors header of 45,000 tensors and a text of 16 MiB fit. */
enum { BEAM_JSON_MEMORY = 80 << 20 };

typedef struct {
    const json_t *json; /* an object */
    const char *path;   /* of the file, for messages */
    const char *prefix; /* "" or "expert_mask.": in front of keys in messages */
    beam_status error;  /* what a wrong value returns */
} beam_json_object;

/* Reads a file of at most `limit` bytes whose top level is an object. `error` if it is not JSON, nested
 * deeper than 16, or would take more than BEAM_JSON_MEMORY; BEAM_EIO if it cannot be read. Release with
 * beam_json_free. */
beam_status beam_json_read(const char *path, size_t limit, beam_status error, json_t **out);

/* The same for bytes already in memory; `path` is for messages. */
beam_status beam_json_parse(const char *path, const char *bytes, size_t size, beam_status error,
                            json_t **out);

/* json_loadb for text from outside, without duplicate keys: what is nested deeper than max_depth or would
 * take more than BEAM_JSON_MEMORY is not parsed, and neither is anything for which there may not be memory,
 * because Jansson reads wrong and writes beyond its buffers where an allocation fails in the middle of a
 * token. *excess: NULL, or which of these it was (beam_json_no_memory for the last). */
json_t *beam_json_load(const char *bytes, size_t size, int max_depth, size_t flags, json_error_t *wrong,
                       const char **excess);
extern const char beam_json_no_memory[];

void beam_json_free(json_t *root);

/* Fails if the key is absent or null. */
beam_status beam_json_require(const beam_json_object *o, const char *key);

/* Getters: an absent key, or null, leaves *out as it is; another type or a value outside the range fails. */
beam_status beam_json_i64(const beam_json_object *o, const char *key, int64_t min, int64_t max, int64_t *out);
beam_status beam_json_f64(const beam_json_object *o, const char *key, double min, double max, double *out);
beam_status beam_json_bool(const beam_json_object *o, const char *key, bool *out);
/* The text must fit out[size]. */
beam_status beam_json_text(const beam_json_object *o, const char *key, char *out, size_t size);
/* An object inside the object; NULL if absent or null. Borrowed. */
beam_status beam_json_child(const beam_json_object *o, const char *key, const json_t **out);

/* The key is there with a value that is not null; with null. */
bool beam_json_has(const beam_json_object *o, const char *key);
bool beam_json_is_null(const beam_json_object *o, const char *key);

/* The values of two keys of the object are there and equal (1 equals 1.0). */
bool beam_json_same(const beam_json_object *o, const char *key, const char *other);

/* Fails unless the key is absent, null, or has the value whose JSON text is `accepted` (1 equals 1.0);
 * `why` ends the message in brackets. */
beam_status beam_json_only(const beam_json_object *o, const char *key, const char *accepted, const char *why);

/* Lists: their length (0 if absent or null; fails if it is not a list), and entry i of one. */
bool beam_json_is_list(const beam_json_object *o, const char *key);
beam_status beam_json_length(const beam_json_object *o, const char *key, size_t *n);
beam_status beam_json_i64_at(const beam_json_object *o, const char *key, size_t i, int64_t min, int64_t max,
                             int64_t *out);
beam_status beam_json_text_at(const beam_json_object *o, const char *key, size_t i, char *out, size_t size);

/* Calls `visit` for every key whose value is not null, until it fails. */
beam_status beam_json_each(const beam_json_object *o, void *context,
                           beam_status (*visit)(void *context, const beam_json_object *o, const char *key));

/* The value as in the file, at most 60 bytes of it, for messages; "absent" for NULL. Returns buffer. */
const char *beam_json_show(const json_t *value, char buffer[64]);
/* The same of a key's value. */
const char *beam_json_show_key(const beam_json_object *o, const char *key, char buffer[64]);

#endif
