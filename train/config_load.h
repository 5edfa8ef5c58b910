/* A configuration while it is being put together. Internal to train/config*.c. */
#ifndef BEAM_TRAIN_CONFIG_LOAD_H
#define BEAM_TRAIN_CONFIG_LOAD_H

#include "train/config_key.h"

typedef struct {
    beam_config *config;
    char **origins;        /* [BEAM_KEYS], NULL where nothing was said */
    bool given[BEAM_KEYS]; /* has a value of its own: said, and not null */
} beam_config_draft;

/* A place in the file, both from 1. line 0: the command line. */
typedef struct {
    const char *file;
    int line, column;
} beam_place;

/* "run.yaml:12:3" or "command line" into `text`, which is returned. */
const char *beam_place_text(beam_place place, char *text, size_t size);

/* Sets one key, given by name or alias; NULL: back to the default. In the file each key may come only once.
 * The places of the name and of the value are for messages. */
beam_status beam_draft_set(beam_config_draft *draft, const char *name, const char *value, beam_place named,
                           beam_place said);

/* "place: unknown key ...; did you mean ...?" */
beam_status beam_draft_unknown(const char *name, beam_place place);

/* Reads the file into the draft. */
beam_status beam_draft_read_yaml(beam_config_draft *draft, const char *path);

#endif
