/* A YAML file as a stream of events: `key: value` lines and one level of sections. Aliases, anchors, tags,
 * lists and deeper nesting are refused at the first event that has one, so nothing grows with the file. */
#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

#include "data/file.h"
#include "data/text.h"
#include "train/config_load.h"

enum { FILE_LIMIT = 1 << 20, NAME_MAX_BYTES = 256, PLACE_MAX = BEAM_PATH_MAX + 32 };

typedef struct {
    beam_config_draft *draft;
    const char *path;
    int documents, depth;
    char section[NAME_MAX_BYTES]; /* "mask." inside a section, else "" */
    char key[NAME_MAX_BYTES]; /* the key whose value comes next, without its section; "" while none does */
    beam_place key_place;
    bool has_key, section_is_empty;
    bool opened[BEAM_KEYS]; /* at the first key of a section: the section was there already */
    char place[PLACE_MAX];
} reader;

static beam_place place_of(const reader *r, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    return (beam_place){r->path, mark ? mark->line + 1 : 1, mark ? mark->column + 1 : 1};
}

static const char *at(reader *r, struct fy_event *event)
{
    return beam_place_text(place_of(r, event), r->place, sizeof r->place);
}

/* Copies a scalar. false if it does not fit or holds a zero byte. */
static bool scalar_text(struct fy_token *token, char *text, size_t size)
{
    size_t n = 0;
    const char *from = fy_token_get_text(token, &n);
    if (!from || n >= size || memchr(from, 0, n))
        return false;
    memcpy(text, from, n);
    text[n] = '\0';
    return true;
}

static bool is_null(struct fy_token *token, const char *text)
{
    if (fy_token_scalar_style(token) != FYSS_PLAIN)
        return false;
    return !*text || strcmp(text, "null") == 0 || strcmp(text, "~") == 0;
}

static beam_status read_key(reader *r, struct fy_event *event)
{
    if (!scalar_text(event->scalar.value, r->key, sizeof r->key) || !r->key[0])
        return BEAM_FAIL(BEAM_ECONFIG, "%s: this is not a key (empty, too long, or with a zero byte)",
                         at(r, event));
    r->key_place = place_of(r, event);
    r->has_key = true;
    r->section_is_empty = false;
    return BEAM_OK;
}

static beam_status read_value(reader *r, struct fy_event *event)
{
    char name[2 * NAME_MAX_BYTES], value[BEAM_PATH_MAX];
    snprintf(name, sizeof name, "%s%s", r->section, r->key);
    r->has_key = false;
    if (!scalar_text(event->scalar.value, value, sizeof value))
        return BEAM_FAIL(BEAM_ECONFIG, "%s: the value of %s is longer than %d bytes or holds a zero byte",
                         at(r, event), name, BEAM_PATH_MAX - 1);
    const bool null = is_null(event->scalar.value, value);
    if (r->depth == 1 && beam_key_section(name) >= 0) {
        if (null)
            return BEAM_OK; /* a section with nothing in it */
        return BEAM_FAIL(BEAM_ECONFIG, "%s: %s is a section; write its keys below it, indented", at(r, event),
                         name);
    }
    return beam_draft_set(r->draft, name, null ? NULL : value, r->key_place, place_of(r, event));
}

static beam_status read_scalar(reader *r, struct fy_event *event)
{
    if (r->depth == 0)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: expected lines of the form `key: value`", at(r, event));
    return r->has_key ? read_value(r, event) : read_key(r, event);
}

/* An unknown section opens too: the message about its first key can then suggest the right one. */
static beam_status open_section(reader *r, struct fy_event *event)
{
    const int first = beam_key_section(r->key);
    if (first >= 0 && r->opened[first])
        return BEAM_FAIL(BEAM_ECONFIG, "%s: duplicate section \"%s\"; put its keys together", at(r, event),
                         r->key);
    if (first >= 0)
        r->opened[first] = true;
    snprintf(r->section, sizeof r->section, "%.*s.", NAME_MAX_BYTES - 2, r->key);
    r->has_key = false;
    r->section_is_empty = true;
    r->depth = 2;
    return BEAM_OK;
}

static beam_status open_mapping(reader *r, struct fy_event *event)
{
    if (r->depth == 0) {
        r->depth = 1;
        return BEAM_OK;
    }
    if (!r->has_key)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: expected a key, found a mapping", at(r, event));
    char name[2 * NAME_MAX_BYTES];
    bool alias;
    snprintf(name, sizeof name, "%s%s", r->section, r->key);
    if (beam_key_find(name, &alias) >= 0)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: %s takes one value, not a section", at(r, event), name);
    if (r->depth > 1)
        return beam_draft_unknown(name, r->key_place);
    return open_section(r, event);
}

/* A misspelt section that had no key to complain about is unknown itself. */
static beam_status close_mapping(reader *r)
{
    if (r->depth == 2 && r->section_is_empty && beam_key_section(r->key) < 0)
        return beam_draft_unknown(r->key, r->key_place);
    r->depth--;
    r->section[0] = '\0';
    return BEAM_OK;
}

static beam_status read_event(reader *r, struct fy_event *event)
{
    if (event->type == FYET_ALIAS || fy_event_get_anchor_token(event))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: YAML aliases and anchors (`*name`, `&name`) are not accepted; "
                         "write the value out",
                         at(r, event));
    if (fy_event_get_tag_token(event))
        return BEAM_FAIL(BEAM_ECONFIG, "%s: YAML tags (`!name`) are not accepted; remove it", at(r, event));
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (r->documents++ > 0)
            return BEAM_FAIL(BEAM_ECONFIG, "%s: a second YAML document; one file holds one configuration",
                             at(r, event));
        return BEAM_OK;
    case FYET_MAPPING_START:
        return open_mapping(r, event);
    case FYET_MAPPING_END:
        return close_mapping(r);
    case FYET_SEQUENCE_START:
        if (r->has_key)
            return BEAM_FAIL(BEAM_ECONFIG, "%s: %s%s takes one value, not a list", at(r, event), r->section,
                             r->key);
        return BEAM_FAIL(BEAM_ECONFIG, "%s: expected lines of the form `key: value`, found a list",
                         at(r, event));
    case FYET_SCALAR:
        return read_scalar(r, event);
    default:
        return BEAM_OK;
    }
}

/* The first thing the library collected about broken YAML. */
static beam_status syntax_error(const reader *r, struct fy_diag *diag)
{
    void *last = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &last);
    if (!e)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: this is not valid YAML", r->path);
    return BEAM_FAIL(BEAM_ECONFIG, "%s:%d:%d: this is not valid YAML: %s", r->path, e->line, e->column,
                     e->msg);
}

static beam_status read_stream(reader *r, struct fy_parser *parser, struct fy_diag *diag)
{
    beam_status s = BEAM_OK;
    struct fy_event *event;
    while (s == BEAM_OK && (event = fy_parser_parse(parser)) != NULL) {
        s = read_event(r, event);
        fy_parser_event_free(parser, event);
    }
    return s == BEAM_OK && fy_parser_get_stream_error(parser) ? syntax_error(r, diag) : s;
}

static beam_status read_text(beam_config_draft *draft, const char *path, const char *text, size_t size)
{
    reader r = {.draft = draft, .path = path};
    const struct fy_diag_cfg quiet = {.level = FYET_ERROR, .module_mask = ~0u};
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (!diag)
        return BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory while reading it", path);
    fy_diag_set_collect_errors(diag, true); /* instead of printing them */
    const struct fy_parse_cfg config = {.flags = FYPCF_QUIET | FYPCF_JSON_NONE, .diag = diag};
    struct fy_parser *parser = fy_parser_create(&config);
    beam_status s;
    if (parser && fy_parser_set_string(parser, text, size) == 0)
        s = read_stream(&r, parser, diag);
    else
        s = BEAM_FAIL(BEAM_ENOMEM, "%s: out of memory while reading it", path);
    if (parser)
        fy_parser_destroy(parser);
    fy_diag_destroy(diag);
    return s;
}

/* libfyaml never returns from a directive that is not UTF-8, and takes a zero byte for the end. */
static beam_status check_utf8(const char *path, const char *text, size_t size)
{
    int line = 1;
    for (size_t i = 0, length; i < size; i += length) {
        length = beam_utf8_length(text + i, size - i);
        if (length == 0)
            return BEAM_FAIL(BEAM_ECONFIG, "%s:%d: not UTF-8; save the file as UTF-8 text", path, line);
        if (!text[i])
            return BEAM_FAIL(BEAM_ECONFIG, "%s:%d: holds a zero byte; this is not a text file", path, line);
        line += text[i] == '\n';
    }
    return BEAM_OK;
}

beam_status beam_draft_read_yaml(beam_config_draft *draft, const char *path)
{
    char *text = NULL;
    size_t size = 0;
    beam_status s = beam_file_read(path, FILE_LIMIT, &text, &size);
    if (s == BEAM_EIO) /* a wrong path on the command line, not a broken disk */
        return BEAM_FAIL(BEAM_ECONFIG, "%s", beam_last_error());
    if (s != BEAM_OK)
        return s;
    s = check_utf8(path, text, size);
    if (s == BEAM_OK && size > 0)
        s = read_text(draft, path, text, size);
    free(text);
    return s;
}

const char *beam_config_yaml_version(void)
{
    return fy_library_version();
}
