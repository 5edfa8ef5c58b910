#include "serve/selftest.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "data/file.h"

void beam_selftest_ids(int64_t vocab, int64_t n, int32_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int32_t)(beam_random_bits(1, beam_hash_string("selftest"), (uint64_t)i) % (uint64_t)vocab);
}

static beam_status check_finite(const beam_selftest *t)
{
    const beam_score_result *s = &t->score;
    bool finite = true;
    for (int64_t i = 0; i + 1 < s->n; i++)
        finite = finite && isfinite(s->logprob[i]);
    for (int64_t i = 0; i < s->n * s->best; i++)
        finite = finite && isfinite(s->best_logit[i]);
    for (int64_t i = 0; i < s->n * s->layers * s->top_k; i++)
        finite = finite && isfinite(s->logit[i]);
    return finite ? BEAM_OK
                  : BEAM_FAIL(BEAM_ENUMERIC,
                              "the model's predictions are not finite: an export of it would be of no use");
}

beam_status beam_selftest_run(beam_model *m, const int32_t *id, int64_t n, beam_selftest *out)
{
    *out = (beam_selftest){.id = id};
    const int64_t vocab = beam_model_config_of(m)->vocab_size;
    beam_status status =
        beam_score(m, id, n, vocab < BEAM_SELFTEST_BEST ? vocab : BEAM_SELFTEST_BEST, &out->score);
    if (!status)
        status = check_finite(out);
    if (status)
        beam_selftest_free(out);
    return status;
}

void beam_selftest_free(beam_selftest *t)
{
    beam_score_free(&t->score);
    *t = (beam_selftest){0};
}

static double cutoff_of(double threshold)
{
    return log(threshold / (1 - threshold));
}

/* Distance of the nearest candidate's mask logit from the cutoff, for a token in a layer. */
static double margin(const beam_score_result *s, int64_t token_layer, double cutoff)
{
    double nearest = INFINITY;
    for (int64_t k = 0; k < s->top_k; k++)
        nearest = fmin(nearest, fabs((double)s->logit[token_layer * s->top_k + k] - cutoff));
    return nearest;
}

static void print_kept(FILE *f, const beam_score_result *s, int64_t token_layer)
{
    putc('[', f);
    for (int32_t k = 0; k < s->kept[token_layer]; k++)
        fprintf(f, "%s%" PRId32, k ? "," : "", s->expert[token_layer * s->top_k + k]);
    putc(']', f);
}

/* What stands before and behind entry i of a list of rows with n entries each, a line per row. */
static const char *before(int64_t i, int64_t n)
{
    return i % n ? "," : i ? ",\n [" : "\n [";
}

static const char *behind(int64_t i, int64_t n)
{
    return (i + 1) % n ? "" : "]";
}

static void print_experts(FILE *f, const beam_score_result *s)
{
    for (int64_t i = 0; i < s->n * s->layers; i++) {
        fputs(before(i, s->layers), f);
        print_kept(f, s, i);
        fputs(behind(i, s->layers), f);
    }
}

static void print_margins(FILE *f, const beam_score_result *s, double cutoff)
{
    for (int64_t i = 0; i < s->n * s->layers; i++)
        fprintf(f, "%s%.3g%s", before(i, s->layers), margin(s, i, cutoff), behind(i, s->layers));
}

static void print_best(FILE *f, const beam_score_result *s)
{
    for (int64_t i = 0; i < s->n * s->best; i++)
        fprintf(f, "%s[%" PRId32 ",%.9g]%s", before(i, s->best), s->best_id[i], (double)s->best_logit[i],
                behind(i, s->best));
}

static void print(FILE *f, const beam_selftest *t, double threshold)
{
    const beam_score_result *s = &t->score;
    fputs("{\"version\": 1,\n\"ids\": [", f);
    for (int64_t i = 0; i < s->n; i++)
        fprintf(f, "%s%" PRId32, i ? "," : "", t->id[i]);
    fputs("],\n\"logprobs\": [", f);
    for (int64_t i = 0; i + 1 < s->n; i++)
        fprintf(f, "%s%.9g", i ? "," : "", s->logprob[i]);
    fputs("],\n\"top_logits\": [", f);
    print_best(f, s);
    fputs("],\n\"experts\": [", f);
    print_experts(f, s);
    fputs("],\n\"margins\": [", f);
    print_margins(f, s, cutoff_of(threshold));
    fputs("]}\n", f);
}

beam_status beam_selftest_write(const beam_selftest *t, double threshold, const char *folder)
{
    char path[1200], *text;
    size_t size;
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "expert_mask_selftest.json"));
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the self-test");
    print(f, t, threshold);
    const beam_status status = fclose(f) == 0 ? beam_file_write(path, text, size)
                                              : BEAM_FAIL(BEAM_ENOMEM, "no memory for the self-test");
    free(text);
    return status;
}

static bool keeps(const beam_score_result *s, int64_t token_layer, int32_t expert)
{
    const int32_t *kept = s->expert + token_layer * s->top_k;
    bool found = false;
    for (int32_t k = 0; k < s->kept[token_layer]; k++)
        found = found || kept[k] == expert;
    return found;
}

/* Experts that a keeps for a token in a layer and b does not. */
static int64_t only_first(const beam_score_result *a, const beam_score_result *b, int64_t token_layer)
{
    int64_t n = 0;
    for (int32_t k = 0; k < a->kept[token_layer]; k++)
        n += !keeps(b, token_layer, a->expert[token_layer * a->top_k + k]);
    return n;
}

beam_mask_margins beam_selftest_margins(const beam_selftest *t, const beam_selftest *before, double threshold)
{
    static const double bound[] = {1e-4, 1e-3, 1e-2, 1e-1};
    const beam_score_result *s = &t->score;
    beam_mask_margins out = {.decisions = s->n * s->layers * s->top_k};
    for (int64_t i = 0; i < out.decisions; i++)
        for (int b = 0; b < 4; b++)
            out.below[b] += fabs((double)s->logit[i] - cutoff_of(threshold)) < bound[b];
    if (!before)
        return out;
    const beam_score_result *old = &before->score;
    for (int64_t i = 0; i < s->n * s->layers; i++)
        out.flipped += only_first(s, old, i) + only_first(old, s, i);
    for (int64_t i = 0; i + 1 < s->n; i++)
        out.logprob_moved = fmax(out.logprob_moved, fabs(s->logprob[i] - old->logprob[i]));
    return out;
}
