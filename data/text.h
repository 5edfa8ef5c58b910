/* Documents from text files, one after the other, without holding the file in memory.
 *
 *     .txt     one document; or several, separated by a line that the options name
 *     .jsonl   one JSON object per line, with the text under a key, or a conversation under "messages"; empty
 *              lines are passed over
 *
 * both also compressed (.txt.zst, .jsonl.zst). All text must be UTF-8.
 *
 *     beam_text *t;
 *     BEAM_TRY(beam_text_open("corpus.jsonl", &options, &t));
 *     while ((s = beam_text_next(t, &text, &size)) == BEAM_OK && text)
 *         use(text, size);
 *     beam_text_close(t);
 */
#ifndef BEAM_DATA_TEXT_H
#define BEAM_DATA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

enum {
    BEAM_TEXT_LINE_MAX = 1 << 24,     /* bytes of a JSON line */
    BEAM_TEXT_DOCUMENT_MAX = 1 << 30, /* bytes of a document of a .txt file */
};

typedef struct {
    const char *field;     /* JSON key of the text; NULL: "text" */
    const char *separator; /* .txt: this whole line separates documents; NULL: the file is one */
    int64_t max_bad_rows;  /* so many documents may be malformed and are left out; 0: none */
} beam_text_options;

typedef struct beam_text beam_text;
struct beam_chat; /* data/chat.h */

/* Whether the name is one of a text file. */
bool beam_text_is(const char *path);

/* Opens a file; the options' strings must outlive the handle. BEAM_EIO if it cannot be opened, BEAM_EDATA if
 * its name does not tell its kind. */
beam_status beam_text_open(const char *path, const beam_text_options *options, beam_text **out);
void beam_text_close(beam_text *t); /* accepts NULL */

/* The next document, valid until the next call and followed by a zero byte; NULL at the end. It may hold zero
 * bytes. BEAM_EDATA with file and line for bad JSON, bad UTF-8, a missing or non-text field, a conversation
 * that is none, or too long a line, once there are more than max_bad_rows of them; always for damaged
 * compression. */
beam_status beam_text_next(beam_text *t, const char **text, size_t *size);

/* The conversation that the document handed out last is, until the next call; its text is then empty. NULL if
 * it is a text. */
const struct beam_chat *beam_text_chat(const beam_text *t);

/* Malformed documents left out so far. */
int64_t beam_text_bad_rows(const beam_text *t);

/* Bytes of the file read so far (as stored, so that it can be compared with the file's size). */
uint64_t beam_text_bytes_read(const beam_text *t);

/* The length of the UTF-8 character at s[0..n), or 0 if there is none (RFC 3629: no surrogates, no detours,
 * nothing above U+10FFFF). */
size_t beam_utf8_length(const char *s, size_t n);

/* Whether s[0..n) consists of such characters. */
bool beam_is_utf8(const char *s, size_t n);

#endif
