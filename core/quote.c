#include "core/quote.h"

void beam_print_quoted(FILE *to, const char *text)
{
    putc('"', to);
    for (const char *p = text; *p; p++) {
        const unsigned char byte = (unsigned char)*p;
        if (byte == '"' || byte == '\\')
            fprintf(to, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            fprintf(to, "\\u%04x", byte);
        else
            putc(byte, to);
    }
    putc('"', to);
}
