#include "data/chat.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fixed word that equals the role; NULL: there is none. */
static const char *known_role(const json_t *role)
{
    static const char *const known[] = {"system", "user", "assistant", "tool"};
    const size_t n = json_string_length(role);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (n == strlen(known[i]) && memcmp(json_string_value(role), known[i], n) == 0)
            return known[i];
    return NULL;
}

/* "loss" as true, false, 1, 0, or `otherwise` where it is not said; -1: something else. */
static int read_loss(const json_t *loss, int otherwise)
{
    if (!loss || json_is_null(loss))
        return otherwise;
    if (json_is_boolean(loss))
        return json_is_true(loss);
    const double value = json_is_number(loss) ? json_number_value(loss) : -1;
    return value == 0 || value == 1 ? (int)value : -1;
}

/* NULL, or what is wrong with the message. */
static const char *read_message(const json_t *message, beam_message *out)
{
    const json_t *content = json_object_get(message, "content");
    out->role = known_role(json_object_get(message, "role"));
    if (!out->role)
        return "\"role\" is not system, user, assistant or tool";
    if (!json_is_string(content))
        return "\"content\" is not a string";
    out->content = json_string_value(content);
    out->size = json_string_length(content);
    const bool speaks = strcmp(out->role, "assistant") == 0;
    const int loss = read_loss(json_object_get(message, "loss"), speaks);
    if (loss < 0)
        return "\"loss\" is not true, false, 1 or 0";
    if (loss && !speaks)
        return "\"loss\": only messages of the assistant can be learned";
    out->learned = loss;
    return NULL;
}

beam_status beam_chat_read(const json_t *messages, beam_chat *out, bool *valid, char *wrong, size_t size)
{
    const size_t n = json_array_size(messages);
    *valid = false;
    if (n == 0) {
        snprintf(wrong, size, "\"messages\" is not a list of messages, at least one");
        return BEAM_OK;
    }
    if (n > out->room) {
        beam_message *at = realloc(out->at, n * sizeof *at);
        if (!at)
            return BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu messages", n);
        out->at = at;
        out->room = n;
    }
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        const char *what = read_message(json_array_get(messages, i), &out->at[i]);
        if (what) {
            snprintf(wrong, size, "message %zu: %s", i, what);
            return BEAM_OK;
        }
    }
    *valid = true;
    return BEAM_OK;
}

void beam_chat_free(beam_chat *c)
{
    free(c->at);
    *c = (beam_chat){0};
}

bool beam_chat_teaches(const beam_chat *c)
{
    bool learned = false;
    for (size_t i = 0; i < c->n; i++)
        learned |= c->at[i].learned;
    return learned;
}

int64_t beam_chat_room(const beam_chat *c)
{
    size_t room = 0;
    for (size_t i = 0; i < c->n; i++)
        room += 3 + strlen(c->at[i].role) + c->at[i].size;
    return (int64_t)room;
}

/* The token that begins a message, its role and a newline. */
static int64_t encode_head(const char *role, const beam_tokenizer *t, int32_t *id)
{
    int64_t n = 0;
    id[n++] = t->bos;
    n += beam_tokenizer_encode(t, role, strlen(role), id + n);
    return n + beam_tokenizer_encode(t, "\n", 1, id + n);
}

static int64_t encode_message(const beam_message *m, const beam_tokenizer *t, int32_t *id, uint8_t *loss)
{
    const int64_t said = encode_head(m->role, t, id);
    int64_t n = said + beam_tokenizer_encode(t, m->content, m->size, id + said);
    id[n++] = t->eos;
    memset(loss, 0, (size_t)said);
    memset(loss + said, m->learned, (size_t)(n - said));
    return n;
}

int64_t beam_chat_encode(const beam_chat *c, const beam_tokenizer *t, int32_t *id, uint8_t *loss)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += encode_message(&c->at[i], t, id + n, loss + n);
    return n;
}

int64_t beam_chat_question(const beam_tokenizer *t, const char *text, size_t size, int32_t *id)
{
    int64_t n = encode_head("user", t, id);
    n += beam_tokenizer_encode(t, text, size, id + n);
    id[n++] = t->eos;
    return n + encode_head("assistant", t, id + n);
}
