/* Keys of a JSON object as a table: one row says what a key may be, where its value goes, what holds without
 * it and what it means. Reading, refusals, the list of beam_family_key_at and the tables of docs/families.md
 * all come from these rows. */
#ifndef BEAM_MODEL_FAMILIES_KEYS_H
#define BEAM_MODEL_FAMILIES_KEYS_H

#include <stddef.h>

#include "data/json.h"
#include "model/families/families.h"

typedef enum {
    BEAM_ROW_INTEGER, /* an int64_t, */
    BEAM_ROW_NUMBER,  /* a double or */
    BEAM_ROW_SWITCH,  /* a bool at `field` of the struct that is filled */
    BEAM_ROW_JOINT,   /* read by a function, with other keys */
    BEAM_ROW_ONLY,    /* has the value `accepted`, or is null or absent */
    BEAM_ROW_UNUSED,
} beam_row_kind;

enum {
    BEAM_ROW_NEEDED = 1u << 0,   /* the key must be there */
    BEAM_ROW_NULLABLE = 1u << 1, /* null is 0 or false; other keys with a field refuse it */
};

typedef struct {
    const char *key; /* of an unused row it may end in '*': every key that starts so */
    beam_row_kind kind;
    unsigned flags;
    size_t field;
    double min, max;      /* inclusive */
    double absent;        /* the field's value without the key */
    const char *accepted; /* BEAM_ROW_ONLY: JSON text; BEAM_ROW_JOINT: words for documentation */
    const char *alias_of; /* another key with the same field: if both are given they must be equal */
    const char *note;
} beam_key_row;

typedef struct {
    const beam_key_row *at;
    int n;
} beam_key_rows;

/* Initialises a beam_key_rows. */
#define BEAM_ROWS(table)                                                                                     \
    {                                                                                                        \
        .at = table, .n = (int)(sizeof table / sizeof *table)                                                \
    }

/* Rows whose value goes to a member of `type`; the note and the like follow as designated initialisers. */
#define BEAM_ROW_OF(kind_, type, key_, member, min_, max_, absent_, ...)                                     \
    {                                                                                                        \
        .key = key_, .kind = kind_, .field = offsetof(type, member), .min = min_, .max = max_,               \
        .absent = absent_, __VA_ARGS__                                                                       \
    }
#define BEAM_INTEGER(...) BEAM_ROW_OF(BEAM_ROW_INTEGER, beam_model_config, __VA_ARGS__)
#define BEAM_NUMBER(...)  BEAM_ROW_OF(BEAM_ROW_NUMBER, beam_model_config, __VA_ARGS__)
#define BEAM_SWITCH(key_, member, absent_, ...)                                                              \
    BEAM_ROW_OF(BEAM_ROW_SWITCH, beam_model_config, key_, member, 0, 1, absent_, __VA_ARGS__)

/* Fills the struct `out` from the object: first what holds without keys, then the values of the object.
 * Refuses any key that no table has, unless it is null; `of` names the tables in that message, as in
 * "of olmoe". Joint rows are left to the caller. */
beam_status beam_keys_read(const beam_json_object *o, const beam_key_rows *tables, int n, const char *of,
                           void *out);

/* The row as documentation. */
beam_family_key beam_key_describe(const beam_key_row *row);

#endif
