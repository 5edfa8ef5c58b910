#include "data/preprocess.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/chat.h"
#include "data/file.h"
#include "data/tokenizer.h"
#include "data/tokens.h"

/* A token file under construction. */
typedef struct {
    beam_tokens tokens;
    int64_t token_room, document_room;
} sink;

typedef struct {
    const beam_preprocess_options *options;
    const beam_tokenizer *tokenizer;
    sink train, eval;
    int64_t documents, bad_rows, empty, untaught;
    uint64_t bytes_total, bytes_before; /* of all inputs, and of those already finished */
    double began, reported;             /* seconds */
} work;

/* Once per second: how much of the input is read, and how long the rest will take. */
static void report(work *w, const beam_text *t)
{
    const double time = beam_seconds();
    if (time - w->reported < 1.0)
        return;
    w->reported = time;
    const double done = (double)(w->bytes_before + beam_text_bytes_read(t)), total = (double)w->bytes_total;
    const double left = done > 0 && total > done ? (time - w->began) * (total - done) / done : 0;
    beam_info("%.1f of %.1f MB read, %lld documents, %.0f s left", 1e-6 * done, 1e-6 * total,
              (long long)w->documents, left);
}

/* Makes room for n more tokens and one more document. */
static bool reserve(sink *s, int64_t n)
{
    beam_tokens *t = &s->tokens;
    if (t->tokens + n > s->token_room) {
        const int64_t room = t->tokens + n + t->tokens / 2 + 4096;
        int32_t *id = realloc(t->id, (size_t)room * sizeof *id);
        t->id = id ? id : t->id;
        uint8_t *loss = realloc(t->loss, (size_t)room);
        t->loss = loss ? loss : t->loss;
        if (!id || !loss)
            return false;
        s->token_room = room;
    }
    if (t->documents + 2 > s->document_room) {
        const int64_t room = 2 * t->documents + 64;
        int64_t *start = realloc(t->start, (size_t)room * sizeof *start);
        if (!start)
            return false;
        t->start = start;
        s->document_room = room;
    }
    return true;
}

static int64_t encode_text(const beam_tokenizer *tokenizer, const char *text, size_t size, int32_t *id,
                           uint8_t *loss)
{
    int64_t n = beam_tokenizer_encode(tokenizer, text, size, id);
    id[n++] = tokenizer->eos;
    memset(loss, 1, (size_t)n);
    loss[0] = 0; /* nothing precedes it */
    return n;
}

/* Adds a conversation, or a text where `chat` is NULL. */
static beam_status add_document(work *w, const beam_chat *chat, const char *text, size_t size)
{
    const beam_preprocess_options *o = w->options;
    const uint64_t stream = beam_hash_string("held out documents");
    const bool held_out = beam_random_uniform(o->seed, stream, (uint64_t)w->documents) < o->eval_fraction;
    const int64_t room = chat ? beam_chat_room(chat) : (int64_t)size + 1;
    sink *s = held_out ? &w->eval : &w->train;
    beam_tokens *t = &s->tokens;
    w->documents++;
    if (!reserve(s, room))
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld tokens; split the input into several token files",
                         (long long)(t->tokens + room));
    int32_t *id = t->id + t->tokens;
    uint8_t *loss = t->loss + t->tokens;
    const int64_t n = chat ? beam_chat_encode(chat, w->tokenizer, id, loss)
                           : encode_text(w->tokenizer, text, size, id, loss);
    t->start[t->documents++] = t->tokens;
    t->tokens += n;
    t->start[t->documents] = t->tokens;
    return BEAM_OK;
}

static beam_status read_input(work *w, const char *path)
{
    beam_text *t;
    beam_text_options text = w->options->text;
    text.max_bad_rows -= w->bad_rows; /* the limit is for all inputs together */
    BEAM_TRY(beam_text_open(path, &text, &t));
    const char *document;
    size_t size;
    beam_status s;
    while ((s = beam_text_next(t, &document, &size)) == BEAM_OK && document) {
        const beam_chat *chat = beam_text_chat(t);
        if (chat && !beam_chat_teaches(chat))
            w->untaught++;
        else if (!chat && size == 0)
            w->empty++;
        else if ((s = add_document(w, chat, document, size)) != BEAM_OK)
            break;
        report(w, t);
    }
    w->bad_rows += beam_text_bad_rows(t);
    w->bytes_before += beam_text_bytes_read(t);
    beam_text_close(t);
    return s;
}

static beam_status write_output(work *w, sink *s, const char *path)
{
    beam_tokens *t = &s->tokens;
    if (t->documents == 0)
        return BEAM_FAIL(BEAM_EDATA, "%s: not written: of %lld documents none is left for it", path,
                         (long long)w->documents);
    t->vocab = w->tokenizer->vocab;
    snprintf(t->tokenizer, sizeof t->tokenizer, "%s", w->tokenizer->name);
    BEAM_TRY(beam_make_folder_of(path));
    BEAM_TRY(beam_tokens_write(path, t));
    return BEAM_OK;
}

static bool same_path(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || beam_same_file(a, b);
}

static beam_status check_options(const beam_preprocess_options *o, work *w)
{
    if (o->n < 1)
        return BEAM_FAIL(BEAM_ECONFIG, "no text file to preprocess");
    w->tokenizer = beam_tokenizer_find(o->tokenizer);
    if (!w->tokenizer)
        return BEAM_FAIL(BEAM_ECONFIG, "there is no tokenizer \"%s\"; there is \"byte\"", o->tokenizer);
    if (!(o->eval_fraction >= 0 && o->eval_fraction < 1) || (o->eval_fraction > 0 && !o->eval_output))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%g of the documents held out: must be in [0, 1), with a file for them",
                         o->eval_fraction);
    if (o->eval_output && same_path(o->output, o->eval_output))
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: is the output of both parts; the documents held out need a file of "
                         "their own",
                         o->output);
    for (int i = 0; i < o->n; i++) {
        if (same_path(o->inputs[i], o->output) || (o->eval_output && same_path(o->inputs[i], o->eval_output)))
            return BEAM_FAIL(BEAM_ECONFIG, "%s: is an input and an output", o->inputs[i]);
        struct stat info;
        if (stat(o->inputs[i], &info) == 0)
            w->bytes_total += (uint64_t)info.st_size;
    }
    return BEAM_OK;
}

static beam_status preprocess(work *w)
{
    const beam_preprocess_options *o = w->options;
    BEAM_TRY(check_options(o, w));
    for (int i = 0; i < o->n; i++)
        BEAM_TRY(read_input(w, o->inputs[i]));
    if (o->eval_fraction > 0)
        BEAM_TRY(write_output(w, &w->eval, o->eval_output));
    return write_output(w, &w->train, o->output);
}

/* How many of the tokens are targets. */
static int64_t count_targets(const beam_tokens *t)
{
    int64_t targets = 0;
    for (int64_t i = 0; i < t->tokens; i++)
        targets += t->loss[i];
    return targets;
}

beam_status beam_preprocess(const beam_preprocess_options *options, beam_preprocess_stats *stats)
{
    const double began = beam_seconds();
    work w = {.options = options, .began = began, .reported = began};
    const beam_status s = preprocess(&w);
    *stats = (beam_preprocess_stats){.documents = w.train.tokens.documents,
                                     .tokens = w.train.tokens.tokens,
                                     .eval_documents = w.eval.tokens.documents,
                                     .eval_tokens = w.eval.tokens.tokens,
                                     .trained = count_targets(&w.train.tokens),
                                     .bad_rows = w.bad_rows,
                                     .empty = w.empty,
                                     .untaught = w.untaught};
    beam_tokens_free(&w.train.tokens);
    beam_tokens_free(&w.eval.tokens);
    return s;
}

/* ---- show ---- */

/* One token as text; without its tokenizer as a number. Control characters would disturb the terminal. */
static void print_token(const beam_tokenizer *t, int32_t id, FILE *to)
{
    char bytes[BEAM_TOKEN_BYTES];
    if (!t || beam_tokenizer_special(t, id)) {
        if (t)
            fputs(beam_tokenizer_special(t, id), to);
        else
            fprintf(to, "%d ", id);
        return;
    }
    const size_t n = beam_tokenizer_decode(t, id, bytes);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7f)
            fprintf(to, "\\x%02x", c);
        else
            putc(c, to);
    }
}

static void show_document(const beam_tokens *t, int64_t d, int64_t limit, FILE *to)
{
    const beam_tokenizer *tokenizer = beam_tokenizer_find(t->tokenizer);
    const int64_t first = t->start[d], n = t->start[d + 1] - first, shown = n < limit ? n : limit;
    int64_t trained = 0;
    for (int64_t i = 0; i < n; i++)
        trained += t->loss[first + i];
    fprintf(to, "--- document %lld: %lld tokens, %lld trained\n", (long long)d, (long long)n,
            (long long)trained);
    bool inside = false;
    for (int64_t i = first; i < first + shown; i++) {
        if (t->loss[i] && !inside)
            fputs("«", to);
        if (!t->loss[i] && inside)
            fputs("»", to);
        inside = t->loss[i];
        print_token(tokenizer, t->id[i], to);
    }
    fputs(inside ? "»\n" : "\n", to);
    if (shown < n)
        fprintf(to, "(%lld more tokens)\n", (long long)(n - shown));
}

beam_status beam_preprocess_show(const char *path, int64_t documents, int64_t tokens, FILE *to)
{
    beam_tokens t;
    BEAM_TRY(beam_tokens_read(path, &t));
    fprintf(to, "%s: %lld documents, %lld tokens, tokenizer %s; trained tokens stand between « and »\n", path,
            (long long)t.documents, (long long)t.tokens, t.tokenizer);
    for (int64_t d = 0; d < documents && d < t.documents; d++)
        show_document(&t, d, tokens, to);
    beam_tokens_free(&t);
    return BEAM_OK;
}
