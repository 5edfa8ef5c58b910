/* Text inside JSON and YAML. */
#ifndef BEAM_CORE_QUOTE_H
#define BEAM_CORE_QUOTE_H

#include <stdio.h>

/* Prints UTF-8 text as a JSON string, which is a double-quoted YAML string too. */
void beam_print_quoted(FILE *to, const char *text);

#endif
