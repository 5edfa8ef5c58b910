/* Texts and conversations to a token file. A text ends with the tokenizer's end-of-document token, and every
 * token of it but the first is a target; of a conversation the assistant's words are (data/chat.h). Empty
 * texts and conversations without a target are left out. */
#ifndef BEAM_DATA_PREPROCESS_H
#define BEAM_DATA_PREPROCESS_H

#include <stdint.h>
#include <stdio.h>

#include "core/status.h"
#include "data/text.h"

typedef struct {
    const char *const *inputs; /* .txt, .jsonl, each also .zst */
    int n;                     /* number of inputs, at least 1 */
    const char *tokenizer;     /* "byte" */
    beam_text_options text;
    const char *output;      /* token file */
    const char *eval_output; /* token file of the documents held out; NULL: none */
    double eval_fraction;    /* of the documents are held out, chosen at random; in [0, 1) */
    uint64_t seed;           /* of that choice */
} beam_preprocess_options;

typedef struct {
    int64_t documents, tokens;           /* in output */
    int64_t eval_documents, eval_tokens; /* in eval_output */
    int64_t trained;                     /* targets in output */
    int64_t bad_rows, empty, untaught;   /* documents left out; untaught: conversations without a target */
} beam_preprocess_stats;

/* BEAM_ECONFIG for unusable options, BEAM_EDATA for malformed text (see data/text.h) or if no document is
 * left for an output, BEAM_EIO if a file cannot be read or written. Nothing is written unless all was read.
 * The folders of the outputs are created. Reports its progress once per second. */
beam_status beam_preprocess(const beam_preprocess_options *options, beam_preprocess_stats *stats);

/* Prints the first `documents` documents of a token file, at most `tokens` tokens of each. Trained tokens
 * stand between the marks that the first line explains. */
beam_status beam_preprocess_show(const char *path, int64_t documents, int64_t tokens, FILE *to);

#endif
