/* Log-probabilities of given token ids, and which experts ran: for comparing models and engines token by
 * token. */
#ifndef BEAM_SERVE_SCORE_H
#define BEAM_SERVE_SCORE_H

#include "model/model.h"

typedef struct {
    int64_t n;       /* tokens */
    double *logprob; /* [n-1] log p(id[i+1] | id[0..i]) */
    int64_t layers, top_k;
    int32_t *kept;     /* [n][layers] number of experts kept */
    int32_t *expert;   /* [n][layers][top_k] their ids, best first; -1 after the last kept one */
    float *logit;      /* [n][layers][top_k] mask logits of all candidates, best first; 0 without masks */
    int64_t best;      /* largest logits after each token, which predict the next */
    int32_t *best_id;  /* [n][best] largest first; the lower id first where they are equal */
    float *best_logit; /* [n][best] */
} beam_score_result;

/* One sequence of n >= 1 ids, at most the model's max_tokens; `best` from 0 to the vocabulary's size. Free
 * the result with beam_score_free. */
beam_status beam_score(beam_model *m, const int32_t *ids, int64_t n, int64_t best, beam_score_result *out);
void beam_score_free(beam_score_result *r);

#endif
