/* What a verb says about itself, from the table of its options, in the forms that people, manual pages and
 * shells read. */
#ifndef BEAM_CLI_HELP_H
#define BEAM_CLI_HELP_H

#include <stdio.h>

#include "cli/args.h"

/* `form`: NULL for people (--help); "man": its part of beam(1); "words": a line for each option, for the
 * completion of shells: verb, --option, what its value is called or "-", help, separated by tabs.
 * BEAM_ECONFIG for any other. */
beam_status beam_help_print(const beam_command *command, const char *form);

/* Text in a manual page: escaped, `code` in bold, blank lines between paragraphs. Ends with a newline. */
void beam_man_text(FILE *to, const char *text);

#endif
