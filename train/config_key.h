/* The table of configuration keys and what one row can do. Internal to train/config*.c. */
#ifndef BEAM_TRAIN_CONFIG_KEY_H
#define BEAM_TRAIN_CONFIG_KEY_H

#include "train/config.h"

typedef enum { BEAM_KEY_TEXT, BEAM_KEY_BOOL, BEAM_KEY_INT, BEAM_KEY_REAL, BEAM_KEY_CHOICE } beam_key_kind;

enum {
    BEAM_KEY_ABOVE_MIN = 1u << 0, /* min itself is out of range */
    BEAM_KEY_BELOW_MAX = 1u << 1, /* max itself is out of range */
    BEAM_KEY_REQUIRED = 1u << 2,
    BEAM_KEY_NUMBERS = 1u << 3, /* changes the numbers of a run: part of beam_config_hash */
};

/* A TEXT is char[BEAM_PATH_MAX], a BOOL bool, an INT int64_t (or uint64_t), a REAL double (NAN: null), a
 * CHOICE an enum whose values are 0, 1, ... in the order of `choices`. */
typedef struct {
    const char *name;  /* with its section: "mask.penalty" */
    const char *group; /* heading of the reference page where a new one begins, else NULL */
    beam_key_kind kind;
    unsigned flags;
    size_t offset;       /* in beam_config */
    const char *initial; /* the default, as it would be written; NULL: null (of REAL) */
    double min, max;     /* of INT and REAL */
    const char *choices; /* of CHOICE, separated by one space */
    const char *aliases; /* names other tools give it, separated by one space; NULL: none */
    const char *help;
} beam_key;

enum { BEAM_KEYS = 59 };
extern const beam_key beam_key_table[BEAM_KEYS];

/* The place of `word` in `words`, which single spaces separate; -1 if it is not there or words is NULL. */
int beam_key_word(const char *words, const char *word);

/* The index of the key with this name or alias, -1 if there is none. *alias: it was an alias. */
int beam_key_find(const char *name, bool *alias);

/* The name nearest to an unknown one, NULL if none is near. */
const char *beam_key_nearest(const char *name);

/* The index of the first key of a section ("mask"), -1 if there is no such section. */
int beam_key_section(const char *name);

/* Stores what `text` says, NULL: the default. false if the text is not what the key takes. */
bool beam_key_parse(const beam_key *key, const char *text, beam_config *config);

/* Both configurations hold the same value of the key. */
bool beam_key_same(const beam_key *key, const beam_config *a, const beam_config *b);

/* What the key takes: "a number > 0 and < 1", "one of masks, all". Returns `text`. */
const char *beam_key_expects(const beam_key *key, char *text, size_t size);

/* Prints the value so that parsing it gives the same value back: valid YAML and valid JSON. */
void beam_key_print(const beam_key *key, const beam_config *config, FILE *to);

#endif
