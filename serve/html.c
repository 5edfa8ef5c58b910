#include "serve/html.h"

#include <string.h>

#include "data/text.h"
#include "serve/style.h"

static void put(FILE *to, char c)
{
    switch (c) {
    case '&':
        fputs("&amp;", to);
        break;
    case '<':
        fputs("&lt;", to);
        break;
    case '>':
        fputs("&gt;", to);
        break;
    case '"':
        fputs("&quot;", to);
        break;
    case '\'':
        fputs("&#39;", to);
        break;
    default:
        if (((unsigned char)c < ' ' && c != '\n' && c != '\t') || c == 127)
            fputs("\xef\xbf\xbd", to);
        else
            putc(c, to);
    }
}

void beam_html_bytes(FILE *to, const char *text, size_t size)
{
    for (size_t i = 0, n; i < size; i += n) {
        n = beam_utf8_length(text + i, size - i);
        if (n > 1)
            fwrite(text + i, 1, n, to);
        else
            put(to, n ? text[i] : '\0');
        n += n == 0;
    }
}

void beam_html_text(FILE *to, const char *text)
{
    beam_html_bytes(to, text, strlen(text));
}

int beam_characters(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void beam_html_open(FILE *to, const char *title)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n<title>",
          to);
    beam_html_text(to, title);
    fputs("</title>\n<style>\n", to);
    beam_style_write(to);
    fputs("</style>\n</head>\n<body>\n<main>\n<h1>", to);
    beam_html_text(to, title);
    fputs("</h1>\n", to);
}

void beam_html_close(FILE *to)
{
    fputs("</main>\n</body>\n</html>\n", to);
}
