/* The prompts that a verb was given: a text, token ids, or a file of JSON lines. */
#ifndef BEAM_CLI_PROMPTS_H
#define BEAM_CLI_PROMPTS_H

#include "data/ids.h"
#include "data/tokenizer.h"

/* The options as given, exactly one of them; NULL where absent. */
typedef struct {
    const char *text, *chat, *ids, *file;
} beam_prompt_source;

typedef struct {
    const int32_t *id;
    int64_t n;
    char where[1200]; /* for messages: "--ids", "FILE:3" */
} beam_prompt;

typedef struct {
    beam_prompt *at;
    int64_t n;
    int32_t *own;        /* ids of --prompt, --chat or --ids */
    beam_id_lines lines; /* of --input */
} beam_prompts;

/* BEAM_ECONFIG unless exactly one is given. */
beam_status beam_prompts_check(const beam_prompt_source *source);

/* Free with beam_prompts_free, also after a failure. */
beam_status beam_prompts_read(const beam_prompt_source *source, int64_t vocab, beam_prompts *out);
void beam_prompts_free(beam_prompts *p);

#endif
