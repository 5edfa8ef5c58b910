/* Text in HTML, and the frame of a page. Everything written is also well-formed XML. */
#ifndef BEAM_SERVE_HTML_H
#define BEAM_SERVE_HTML_H

#include <stdio.h>

/* Text as it may stand between tags and in quoted attributes. Control characters become U+FFFD. */
void beam_html_text(FILE *to, const char *text);

/* The same for at most `limit` characters; a longer text ends in an ellipsis. Returns how many were written.
 */
int beam_html_label(FILE *to, const char *text, int limit);

/* Characters of UTF-8 text. */
int beam_characters(const char *text);

/* Everything up to the page's heading, with the style sheet; and the end. */
void beam_html_open(FILE *to, const char *title);
void beam_html_close(FILE *to);

#endif
