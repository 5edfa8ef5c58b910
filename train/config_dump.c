/* What a configuration looks like from outside: resolved YAML and JSON. */
#include <stdlib.h>
#include <string.h>

#include "core/quote.h"
#include "train/config_key.h"

/* The length of the section's name in front of the dot, 0 at the top level. */
static int section_length(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? (int)(dot - name) : 0;
}

static bool same_section(const char *a, const char *b)
{
    const int n = section_length(a);
    return n == section_length(b) && strncmp(a, b, (size_t)n) == 0;
}

/* Keys of one section stand together in the table, so a section opens where its name changes. */
static bool opens_section(int i)
{
    const char *name = beam_key_table[i].name;
    return section_length(name) > 0 && (i == 0 || !same_section(name, beam_key_table[i - 1].name));
}

static bool closes_section(int i)
{
    const char *name = beam_key_table[i].name;
    return section_length(name) > 0 &&
           (i + 1 == BEAM_KEYS || !same_section(name, beam_key_table[i + 1].name));
}

static const char *last_part(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? dot + 1 : name;
}

static void print_line(const beam_key *key, const beam_config *c, FILE *to)
{
    fprintf(to, "%s%s: ", section_length(key->name) > 0 ? "  " : "", last_part(key->name));
    beam_key_print(key, c, to);
}

/* A comment ends with its line, so an origin with a control character in it must not reach one. */
static void print_comment(const char *origin, size_t width, FILE *to)
{
    fprintf(to, "%*s# ", width < 44 ? (int)(44 - width) : 1, "");
    for (const char *p = origin; *p; p++)
        putc((unsigned char)*p < 0x20 ? '?' : *p, to);
}

void beam_config_dump(const beam_config *c, char *const origins[], FILE *to)
{
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        if (opens_section(i))
            fprintf(to, "%.*s:\n", section_length(key->name), key->name);
        char *line = NULL;
        size_t size = 0;
        FILE *memory = open_memstream(&line, &size);
        BEAM_ASSERT(memory);
        print_line(key, c, memory);
        const bool written = fclose(memory) == 0;
        BEAM_ASSERT(written);
        fputs(line, to);
        if (origins)
            print_comment(origins[i], size, to);
        putc('\n', to);
        free(line);
    }
}

void beam_config_dump_json(const beam_config *c, char *const origins[], FILE *to)
{
    fputs("{\"config\": {", to);
    for (int i = 0; i < BEAM_KEYS; i++) {
        const beam_key *key = &beam_key_table[i];
        fputs(i > 0 ? ", " : "", to);
        if (opens_section(i))
            fprintf(to, "\"%.*s\": {", section_length(key->name), key->name);
        fprintf(to, "\"%s\": ", last_part(key->name));
        beam_key_print(key, c, to);
        fputs(closes_section(i) ? "}" : "", to);
    }
    fputs("}, \"origins\": {", to);
    for (int i = 0; i < BEAM_KEYS; i++) {
        fprintf(to, "%s\"%s\": ", i > 0 ? ", " : "", beam_key_table[i].name);
        beam_print_quoted(to, origins[i]);
    }
    fputs("}}\n", to);
}

beam_status beam_config_text(const beam_config *c, char *const origins[], char **text)
{
    size_t size;
    *text = NULL;
    FILE *stream = open_memstream(text, &size);
    if (!stream)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the configuration's text");
    beam_config_dump(c, origins, stream);
    if (fclose(stream) == 0)
        return BEAM_OK;
    free(*text);
    *text = NULL;
    return BEAM_FAIL(BEAM_ENOMEM, "no memory for the configuration's text");
}
