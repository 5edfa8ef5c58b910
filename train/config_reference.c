/* What the table of keys says to readers: the reference page, its part of the manual page, and the words that
 * shells complete. */
#include <string.h>

#include "train/config_key.h"

static const char *default_text(const beam_key *key)
{
    if (key->flags & BEAM_KEY_REQUIRED)
        return "required";
    if (!key->initial)
        return "none";
    return *key->initial ? key->initial : "empty";
}

static const char *takes(const beam_key *key, char *text, size_t size)
{
    return key->kind == BEAM_KEY_TEXT ? "text" : beam_key_expects(key, text, size);
}

static void print_reference(const beam_key *key, FILE *to)
{
    char expected[256];
    if (key->group)
        fprintf(to, "\n## %s\n\n| key | takes | default | meaning |\n|---|---|---|---|\n", key->group);
    fprintf(to, "| `%s` | %s | %s | %s", key->name, takes(key, expected, sizeof expected), default_text(key),
            key->help);
    for (const char *p = key->aliases; p && *p; p += strspn(p, " ")) {
        const int n = (int)strcspn(p, " ");
        fprintf(to, "%s`%.*s`", p == key->aliases ? " Also accepted: " : ", ", n, p);
        p += n;
    }
    fprintf(to, "%s |\n", key->aliases ? "." : "");
}

void beam_config_reference(FILE *to)
{
    fputs("# Configuration reference\n\n"
          "Every key of the YAML file that `beam train` and the other verbs take. Keys with a dot stand in a "
          "section\n(`mask:` and its keys below it, indented). On the command line: `key=value` or `--key "
          "value`, after the file.\n`null` means \"not given\". Paths are relative to the current folder. "
          "This page is printed by\n`beam validate --reference`.\n",
          to);
    for (int i = 0; i < BEAM_KEYS; i++)
        print_reference(&beam_key_table[i], to);
}

void beam_config_each(beam_config_reader see, void *context)
{
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        char expected[256];
        const beam_key_text text = {.name = key->name,
                                    .group = key->group,
                                    .takes = takes(key, expected, sizeof expected),
                                    .initial = default_text(key),
                                    .aliases = key->aliases,
                                    .help = key->help};
        see(&text, context);
    }
}

void beam_config_words(FILE *to)
{
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        const char *values = key->kind == BEAM_KEY_BOOL ? "false true" : key->choices;
        fprintf(to, "%s%s%s\n", key->name, values ? " " : "", values ? values : "");
    }
}
