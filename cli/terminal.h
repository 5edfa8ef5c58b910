/* Text for people: as wide as their terminal. */
#ifndef BEAM_CLI_TERMINAL_H
#define BEAM_CLI_TERMINAL_H

#include <stdio.h>

/* Columns for running text: the terminal's behind `to`, but from 40 to 100; 100 where there is no terminal.
 */
int beam_terminal_columns(FILE *to);

/* Prints text in lines of at most `columns`, with `indent` spaces before each line but the first, which the
 * caller has begun and which is `used` columns wide. Spaces and single newlines separate words, blank lines
 * paragraphs. Ends with a newline. */
void beam_print_wrapped(FILE *to, const char *text, int used, int indent, int columns);

#endif
