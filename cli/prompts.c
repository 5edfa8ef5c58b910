#include "cli/prompts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/chat.h"

beam_status beam_prompts_check(const beam_prompt_source *s)
{
    if (!!s->text + !!s->chat + !!s->ids + !!s->file == 1)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG,
                     "which prompt? Give one of --prompt TEXT, --chat TEXT, --ids 1,2,3, --input FILE.jsonl");
}

static beam_status no_memory(void)
{
    return BEAM_FAIL(BEAM_ENOMEM, "no memory for the prompts");
}

/* The only prompt, whose ids are p->own. */
static beam_status single(beam_prompts *p, const char *where, int64_t n)
{
    p->at = calloc(1, sizeof *p->at);
    if (!p->at)
        return no_memory();
    p->n = 1;
    p->at[0] = (beam_prompt){.id = p->own, .n = n};
    snprintf(p->at[0].where, sizeof p->at[0].where, "%s", where);
    return BEAM_OK;
}

/* A text as it is, or as a user's question to the assistant. */
static beam_status read_text(const char *option, const char *text, int64_t vocab, beam_prompts *p)
{
    const bool asks = strcmp(option, "--chat") == 0;
    const beam_tokenizer *t = beam_tokenizer_find("byte");
    const size_t size = strlen(text);
    if (vocab != t->vocab)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: needs a byte-level model (vocabulary of %" PRId64 ", not %" PRId64
                         "); make ids with the model's tokenizer and give --ids",
                         option, t->vocab, vocab);
    if (size == 0)
        return BEAM_FAIL(BEAM_ECONFIG, "%s: expected at least one byte of text", option);
    p->own = malloc((size + BEAM_CHAT_QUESTION) * sizeof *p->own);
    if (!p->own)
        return no_memory();
    return single(p, option,
                  asks ? beam_chat_question(t, text, size, p->own)
                       : beam_tokenizer_encode(t, text, size, p->own));
}

static beam_status read_list(const char *list, int64_t vocab, beam_prompts *p)
{
    int64_t n = 0;
    p->own = malloc((strlen(list) / 2 + 1) * sizeof *p->own); /* a number and what follows it: two bytes */
    if (!p->own)
        return no_memory();
    for (const char *at = list;; at++) {
        char *end;
        errno = 0;
        const long long id = strtoll(at, &end, 10);
        if (end == at || errno != 0 || id < 0 || id >= vocab || (*end != ',' && *end != '\0'))
            return BEAM_FAIL(BEAM_ECONFIG,
                             "--ids \"%.80s\": number %" PRId64 " is not an integer from 0 to %" PRId64
                             "; write them as 1,2,3",
                             list, n + 1, vocab - 1);
        p->own[n++] = (int32_t)id;
        at = end;
        if (*at == '\0')
            return single(p, "--ids", n);
    }
}

static beam_status read_file(const char *path, int64_t vocab, beam_prompts *p)
{
    BEAM_TRY(beam_ids_read(path, vocab, &p->lines));
    p->at = calloc((size_t)p->lines.n, sizeof *p->at);
    if (!p->at)
        return no_memory();
    p->n = p->lines.n;
    for (int64_t i = 0; i < p->n; i++) {
        p->at[i] = (beam_prompt){.id = p->lines.line[i].id, .n = p->lines.line[i].n};
        snprintf(p->at[i].where, sizeof p->at[i].where, "%.1100s:%ld", path, p->lines.line[i].number);
    }
    return BEAM_OK;
}

beam_status beam_prompts_read(const beam_prompt_source *s, int64_t vocab, beam_prompts *out)
{
    *out = (beam_prompts){0};
    if (s->text || s->chat)
        return read_text(s->text ? "--prompt" : "--chat", s->text ? s->text : s->chat, vocab, out);
    return s->ids ? read_list(s->ids, vocab, out) : read_file(s->file, vocab, out);
}

void beam_prompts_free(beam_prompts *p)
{
    free(p->at);
    free(p->own);
    beam_ids_free(&p->lines);
    *p = (beam_prompts){0};
}
