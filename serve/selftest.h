/* What an exported masked model does with a few tokens: expert_mask_selftest.json (docs/formats.md), with
 * which any other program that runs the folder can be checked; and what rounding the masks changed. */
#ifndef BEAM_SERVE_SELFTEST_H
#define BEAM_SERVE_SELFTEST_H

#include "serve/score.h"

enum { BEAM_SELFTEST_BEST = 5, BEAM_SELFTEST_TOKENS = 48 };

typedef struct {
    const int32_t *id;       /* [score.n], of the caller */
    beam_score_result score; /* with the BEAM_SELFTEST_BEST largest logits, or as many as there are */
} beam_selftest;

/* Ids without meaning within the vocabulary, always the same. */
void beam_selftest_ids(int64_t vocab, int64_t n, int32_t *out);

/* Runs the model, which has mask gates, on n >= 1 ids: at most its max_tokens. BEAM_ENUMERIC if what comes
 * out is not finite. Free with beam_selftest_free. */
beam_status beam_selftest_run(beam_model *m, const int32_t *id, int64_t n, beam_selftest *out);
void beam_selftest_free(beam_selftest *t);

/* Writes expert_mask_selftest.json into the folder. `threshold` is the masks'. */
beam_status beam_selftest_write(const beam_selftest *t, double threshold, const char *folder);

/* How sharp the decisions on the tokens of a self-test are. */
typedef struct {
    int64_t decisions;    /* (token, layer, candidate) */
    int64_t below[4];     /* of which the mask logit is within 1e-4, 1e-3, 1e-2, 1e-1 of the cutoff */
    int64_t flipped;      /* of which fall otherwise than before the masks were rounded */
    double logprob_moved; /* and the largest change of a token's log-probability by that */
} beam_mask_margins;

/* `before` is the same of the model before rounding; NULL if nothing was rounded. */
beam_mask_margins beam_selftest_margins(const beam_selftest *t, const beam_selftest *before,
                                        double threshold);

#endif
