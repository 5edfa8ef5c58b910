/* What `beam score` has in common for lines of ids and for multiple-choice questions. */
#ifndef BEAM_CLI_SCORE_H
#define BEAM_CLI_SCORE_H

#include "cli/lines.h"
#include "cli/opened.h"

typedef struct {
    beam_model_choice choice;
    const char *input, *out;
    bool experts, choices;
} beam_score_options;

/* One line of `lines` per question of the input, and the accuracy on stderr. Loads the model that *o looked
 * at. */
beam_status beam_score_choices(const beam_score_options *s, beam_opened *o, beam_lines *lines);

#endif
