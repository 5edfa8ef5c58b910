/* Text in HTML, and the frame of a page. Everything written is also well-formed XML. */
#ifndef BEAM_SERVE_HTML_H
#define BEAM_SERVE_HTML_H

#include <stddef.h>
#include <stdio.h>

/* Text as it may stand between tags and in quoted attributes. Control characters and what is not UTF-8 become
 * U+FFFD. */
void beam_html_text(FILE *to, const char *text);
void beam_html_bytes(FILE *to, const char *text, size_t size);

/* Characters of UTF-8 text. */
int beam_characters(const char *text);

/* Everything up to the page's heading, with the style sheet; and the end. */
void beam_html_open(FILE *to, const char *title);
void beam_html_close(FILE *to);

#endif
