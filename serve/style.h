/* The style sheet of the pages of serve/html.h. */
#ifndef BEAM_SERVE_STYLE_H
#define BEAM_SERVE_STYLE_H

#include <stdio.h>

void beam_style_write(FILE *to);

#endif
