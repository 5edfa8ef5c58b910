/* The part of `beam doctor` that concerns several ranks. */
#ifndef BEAM_CLI_RANKS_H
#define BEAM_CLI_RANKS_H

#include "cli/printer.h"
#include "train/survey.h"

enum { BEAM_RANK_SIZES = 5 }; /* of what is exchanged */

typedef struct {
    int size;
    const char *transport;
    beam_rank_facts *facts; /* [size] */
    char warning[BEAM_SURVEY_WARNINGS][320];
    int warnings;
    int64_t bytes[BEAM_RANK_SIZES]; /* that each rank sent to the others */
    double seconds[BEAM_RANK_SIZES];
    beam_backend backend; /* what `c` is attached to */
} beam_ranks;

/* Collective; takes a few seconds. Free also after a failure, and after `c` is closed. */
beam_status beam_ranks_look(beam_comm *c, beam_ranks *r);
void beam_ranks_free(beam_ranks *r);

void beam_ranks_print(const beam_ranks *r);

/* Members of the JSON object. */
void beam_ranks_put(const beam_ranks *r, beam_printer *p);

#endif
