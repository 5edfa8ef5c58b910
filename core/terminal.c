#include "core/terminal.h"

#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROWEST = 40, WIDEST = 100 };

int beam_terminal_columns(FILE *to)
{
    struct winsize size;
    if (!isatty(fileno(to)) || ioctl(fileno(to), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 0;
    return size.ws_col < NARROWEST ? NARROWEST : size.ws_col;
}

int beam_text_columns(FILE *to)
{
    const int columns = beam_terminal_columns(to);
    return columns == 0 || columns > WIDEST ? WIDEST : columns;
}

/* Of UTF-8: bytes that continue a character take no column. */
static int width_of(const char *text, size_t n)
{
    int width = 0;
    for (size_t i = 0; i < n; i++)
        width += ((unsigned char)text[i] & 0xc0) != 0x80;
    return width;
}

void beam_print_wrapped(FILE *to, const char *text, int used, int indent, int columns)
{
    for (bool first = true;; first = false) { /* first word of all */
        const size_t space = strspn(text, " \n");
        const bool paragraph = !first && space >= 2 && strncmp(text, "\n\n", 2) == 0;
        text += space;
        const size_t n = strcspn(text, " \n");
        const int width = width_of(text, n);
        if (n == 0)
            break;
        if (paragraph || (!first && used + 1 + width > columns)) {
            fprintf(to, "%s\n%*s", paragraph ? "\n" : "", indent, "");
            used = indent;
        } else if (!first) {
            putc(' ', to);
            used++;
        }
        fwrite(text, 1, n, to);
        used += width;
        text += n;
    }
    putc('\n', to);
}

void beam_print_message(FILE *to, const char *who, const char *kind, const char *text)
{
    enum { INDENT = 2 };
    const int columns = beam_terminal_columns(to);
    const int used = width_of(who, strlen(who)) + width_of(kind, strlen(kind));
    fprintf(to, "%s%s", who, kind);
    if (columns > 0 && used + width_of(text, strlen(text)) > columns)
        beam_print_wrapped(to, text, used, INDENT, columns);
    else
        fprintf(to, "%s\n", text);
}
