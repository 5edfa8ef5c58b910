/* Text for people: as wide as their terminal. */
#ifndef BEAM_CORE_TERMINAL_H
#define BEAM_CORE_TERMINAL_H

#include <stdio.h>

/* Columns of the terminal behind `to`, at least 40; 0 where there is none. */
int beam_terminal_columns(FILE *to);

/* What running text is set in: the terminal's columns, at most 100; 100 where there is no terminal. */
int beam_text_columns(FILE *to);

/* Prints text in lines of at most `columns`, with `indent` spaces before each line but the first, which the
 * caller has begun and which is `used` columns wide. Spaces and single newlines separate words, blank lines
 * paragraphs. Ends with a newline. */
void beam_print_wrapped(FILE *to, const char *text, int used, int indent, int columns);

/* A line that begins with `who` and `kind`. A terminal that is too narrow for it gets it wrapped and
 * indented; files and pipes get one line. */
void beam_print_message(FILE *to, const char *who, const char *kind, const char *text);

#endif
