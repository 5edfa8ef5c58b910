/* Conversations, {"messages": [{"role": "user", "content": "..."}, ...]}, and the tokens they become.
 *
 * Each message is the token that begins a document, its role and a newline, its content, and the token that
 * ends a document:
 *
 *     <|bos|>user
 *     How many legs has a spider?<|eos|><|bos|>assistant
 *     Eight.<|eos|>
 *
 * Targets are the content of the assistant's messages and the token that ends them, unless a message says
 * "loss": false. Roles are fixed words and contents are text, so neither can hold one of the two tokens:
 * where a message begins and ends cannot be forged. */
#ifndef BEAM_DATA_CHAT_H
#define BEAM_DATA_CHAT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "data/tokenizer.h"

struct json_t; /* Jansson's */

typedef struct {
    const char *role;    /* system, user, assistant or tool */
    const char *content; /* [size] */
    size_t size;
    bool learned; /* its content is a target */
} beam_message;

typedef struct beam_chat {
    beam_message *at;
    size_t n, room;
} beam_chat;

/* The conversation of a list of messages, into `out`, whose memory is used again; its texts belong to the
 * list. *valid is false, with what is wrong in wrong[size], if it is not one; out is then not to be used.
 * BEAM_ENOMEM. */
beam_status beam_chat_read(const struct json_t *messages, beam_chat *out, bool *valid, char *wrong,
                           size_t size);
void beam_chat_free(beam_chat *c);

/* Whether the assistant says anything that is to be learned. */
bool beam_chat_teaches(const beam_chat *c);

/* An upper bound of the number of tokens. */
int64_t beam_chat_room(const beam_chat *c);

/* The tokens, and 1 in loss[] for the targets; returns their number, at most beam_chat_room. */
int64_t beam_chat_encode(const beam_chat *c, const beam_tokenizer *t, int32_t *id, uint8_t *loss);

/* A user's question and the beginning of the assistant's message, for a model to go on: the tokens go into
 * id[size + BEAM_CHAT_QUESTION]. Returns their number. */
enum { BEAM_CHAT_QUESTION = 32 };
int64_t beam_chat_question(const beam_tokenizer *t, const char *text, size_t size, int32_t *id);

#endif
