#include "cli/help.h"

#include <stdio.h>
#include <string.h>

#include "core/terminal.h"

enum { OPTION_COLUMN = 27 };

static const char *value_of(const beam_option *o)
{
    return o->value ? o->value : "";
}

static void print_option(const char *name, const char *value, const char *help, int columns)
{
    const int used = printf("  --%s%s%s", name, *value ? " " : "", value);
    const int gap = used + 2 < OPTION_COLUMN ? OPTION_COLUMN - used : 2;
    printf("%*s", gap, "");
    beam_print_wrapped(stdout, help, used + gap, OPTION_COLUMN, columns);
}

static void print_text(const beam_command *c)
{
    const int columns = beam_text_columns(stdout);
    printf("usage: beam ");
    beam_print_wrapped(stdout, c->synopsis, 12, 12, columns);
    putchar('\n');
    beam_print_wrapped(stdout, c->about, 0, 0, columns);
    printf("\noptions:\n");
    for (int i = 0; i < c->n; i++)
        print_option(c->options[i].name, value_of(&c->options[i]), c->options[i].help, columns);
    print_option("help", "", "print this", columns);
    printf("\nexamples:\n%s\n", c->examples);
}

/* Of one line or one paragraph; `raw` keeps backquotes. */
static void man_escape(FILE *to, const char *text, size_t n, bool raw)
{
    bool bold = false, begins = true;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (begins && (c == '.' || c == '\''))
            fputs("\\&", to);
        begins = c == '\n';
        if (c == '`' && !raw) {
            fputs(bold ? "\\fR" : "\\fB", to);
            bold = !bold;
        } else if (c == '\\') {
            fputs("\\e", to);
        } else if (c == '-') {
            fputs("\\-", to);
        } else if (c == '\'' || c == '"') {
            fputs(c == '"' ? "\\(dq" : "\\(aq", to);
        } else {
            putc(c, to);
        }
    }
}

void beam_man_text(FILE *to, const char *text)
{
    for (;;) {
        const char *end = strstr(text, "\n\n");
        man_escape(to, text, end ? (size_t)(end - text) : strlen(text), false);
        putc('\n', to);
        if (!end)
            return;
        fputs(".PP\n", to);
        text = end + 2;
    }
}

static void print_man(const beam_command *c)
{
    printf(".SS beam ");
    man_escape(stdout, c->synopsis, strlen(c->synopsis), true);
    putchar('\n');
    beam_man_text(stdout, c->about);
    for (int i = 0; i < c->n; i++) {
        const beam_option *o = &c->options[i];
        printf(".TP\n\\fB\\-\\-");
        man_escape(stdout, o->name, strlen(o->name), true);
        printf("\\fR%s\\fI", *value_of(o) ? " " : "");
        man_escape(stdout, value_of(o), strlen(value_of(o)), true);
        printf("\\fR\n");
        beam_man_text(stdout, o->help);
    }
    printf(".PP\n.EX\n");
    man_escape(stdout, c->examples, strlen(c->examples), true);
    printf("\n.EE\n");
}

/* The verb, with a second word if that is one of lower-case letters: "bench decode". */
static int verb_length(const char *synopsis)
{
    static const char lower[] = "abcdefghijklmnopqrstuvwxyz";
    const size_t first = strspn(synopsis, lower);
    const size_t second = synopsis[first] == ' ' ? strspn(synopsis + first + 1, lower) : 0;
    const size_t both = first + 1 + second;
    return (int)(second > 0 && strchr(" ", synopsis[both]) ? both : first);
}

static void print_words(const beam_command *c)
{
    const int verb = verb_length(c->synopsis);
    for (int i = 0; i < c->n; i++)
        printf("%.*s\t--%s\t%s\t%s\n", verb, c->synopsis, c->options[i].name,
               c->options[i].value ? c->options[i].value : "-", c->options[i].help);
    printf("%.*s\t--help\t-\tprint help\n", verb, c->synopsis);
}

beam_status beam_help_print(const beam_command *c, const char *form)
{
    if (!form)
        print_text(c);
    else if (strcmp(form, "man") == 0)
        print_man(c);
    else if (strcmp(form, "words") == 0)
        print_words(c);
    else
        return BEAM_FAIL(BEAM_ECONFIG, "--help takes no value");
    return BEAM_OK;
}
