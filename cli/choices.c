/* beam score --choices: multiple-choice questions, answered by the most probable text. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/printer.h"
#include "cli/score.h"
#include "data/ids.h"
#include "data/tokenizer.h"
#include "serve/score.h"

typedef struct {
    int64_t labelled, right, right_per_byte; /* questions */
} tally;

typedef struct {
    const beam_score_options *options;
    beam_opened *opened;
    const beam_tokenizer *tokenizer;
    int32_t *id; /* of one context and choice */
    tally tally;
} examiner;

/* Tokens of a context and a choice that are used: the context gives way on its left. */
static int64_t tokens_used(const examiner *x, const beam_question *q, int choice)
{
    const int64_t all = (int64_t)(strlen(q->context) + strlen(q->choice[choice]));
    const int64_t most = x->opened->config.max_positions;
    return all < most ? all : most;
}

static beam_status check_questions(const examiner *x, const beam_questions *all, int64_t *longest)
{
    *longest = 1;
    for (int64_t i = 0; i < all->n; i++)
        for (int j = 0; j < all->at[i].n; j++) {
            const int64_t n = (int64_t)strlen(all->at[i].choice[j]), used = tokens_used(x, &all->at[i], j);
            if (n > x->opened->config.max_positions)
                return BEAM_FAIL(BEAM_EDATA,
                                 "%s:%ld: choice %d has %" PRId64 " bytes, but %s has %" PRId64 " positions",
                                 x->options->input, all->at[i].number, j, n, x->opened->name,
                                 x->opened->config.max_positions);
            if (used > *longest)
                *longest = used;
        }
    return BEAM_OK;
}

/* The log-probability of the choice's bytes given what stands before them. */
static beam_status score_choice(examiner *x, const beam_question *q, int choice, double *sum)
{
    const size_t choice_size = strlen(q->choice[choice]);
    const int64_t n = tokens_used(x, q, choice), context = n - (int64_t)choice_size;
    const char *kept = q->context + strlen(q->context) - context;
    beam_tokenizer_encode(x->tokenizer, kept, (size_t)context, x->id);
    beam_tokenizer_encode(x->tokenizer, q->choice[choice], choice_size, x->id + context);
    beam_score_result r;
    BEAM_TRY(beam_score(x->opened->model, x->id, n, 0, &r));
    *sum = 0;
    for (int64_t i = context > 0 ? context - 1 : 0; i + 1 < n; i++)
        *sum += r.logprob[i];
    beam_score_free(&r);
    return BEAM_OK;
}

static int best_of(const double *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static beam_status answer(examiner *x, const beam_question *q, beam_lines *lines)
{
    double sum[BEAM_MAX_CHOICES], per_byte[BEAM_MAX_CHOICES];
    for (int j = 0; j < q->n; j++) {
        BEAM_TRY(score_choice(x, q, j, &sum[j]));
        per_byte[j] = sum[j] / (double)strlen(q->choice[j]);
    }
    const int choice = best_of(sum, q->n), choice_per_byte = best_of(per_byte, q->n);
    beam_printer p = beam_print_open(lines->line);
    beam_print_text(&p, "id", q->id);
    beam_print_list(&p, "scores", sum, q->n);
    beam_print_list(&p, "scores_per_byte", per_byte, q->n);
    beam_print_i64(&p, "choice", choice);
    beam_print_i64(&p, "choice_per_byte", choice_per_byte);
    if (q->label >= 0)
        beam_print_i64(&p, "label", q->label);
    beam_print_end(&p);
    x->tally.labelled += q->label >= 0;
    x->tally.right += choice == q->label;
    x->tally.right_per_byte += choice_per_byte == q->label;
    return beam_lines_next(lines);
}

static void report_one(const char *name, int64_t right, int64_t n)
{
    const double p = (double)right / (double)n;
    fprintf(stderr, "accuracy by %s: %.2f %% +- %.2f (%" PRId64 " of %" PRId64 ")\n", name, 100 * p,
            100 * sqrt(p * (1 - p) / (double)n), right, n);
}

static void report(const tally *t)
{
    if (t->labelled == 0)
        return;
    report_one("sum", t->right, t->labelled);
    report_one("mean per byte", t->right_per_byte, t->labelled);
}

static beam_status examine(examiner *x, const beam_questions *all, beam_lines *lines)
{
    beam_model_options options = {.scope = BEAM_SCOPE_NONE};
    BEAM_TRY(check_questions(x, all, &options.max_tokens));
    x->id = malloc((size_t)options.max_tokens * sizeof *x->id);
    if (!x->id)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a question");
    BEAM_TRY(beam_opened_load(x->opened, &options));
    for (int64_t i = 0; i < all->n; i++)
        BEAM_TRY(answer(x, &all->at[i], lines));
    return BEAM_OK;
}

beam_status beam_score_choices(const beam_score_options *s, beam_opened *o, beam_lines *lines)
{
    examiner x = {.options = s, .opened = o, .tokenizer = beam_tokenizer_find("byte")};
    if (o->config.vocab_size != x.tokenizer->vocab)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--choices: needs a byte-level model (vocabulary of %" PRId64
                         "), but %s has %" PRId64 "; turn the questions into ids and score those",
                         x.tokenizer->vocab, o->name, o->config.vocab_size);
    beam_questions all;
    BEAM_TRY(beam_questions_read(s->input, &all));
    const beam_status status = examine(&x, &all, lines);
    if (!status)
        report(&x.tally);
    free(x.id);
    beam_questions_free(&all);
    return status;
}
