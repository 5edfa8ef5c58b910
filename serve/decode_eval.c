#include "serve/decode_eval.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    beam_decoder *decoder;
    int64_t vocab;
    beam_decoder_token *token; /* [sequences] of a step, and what follows each */
    int32_t *target;
    double loss; /* sums */
    int64_t right, targets;
} evaluation;

/* Token `place` of every row that has one; padding stands in sequences of its own. */
static int64_t fill_step(evaluation *x, const beam_batch *b, int64_t place)
{
    int64_t n = 0;
    for (int s = 0, row = -1; s < b->sequences; s++) {
        const int64_t t = b->first[s] + place;
        if (!b->counted[b->first[s]])
            continue;
        row++;
        if (t >= b->first[s + 1])
            continue;
        x->target[n] = b->target[t];
        x->token[n++] = (beam_decoder_token){
            .id = b->id[t], .sequence = row, .position = (int32_t)place, .wants_logits = b->target[t] >= 0};
    }
    return n;
}

/* -log softmax(logits)[target]. */
static void judge(evaluation *x, const float *logits, int32_t target)
{
    int64_t best = 0;
    for (int64_t v = 1; v < x->vocab; v++)
        if (logits[v] > logits[best])
            best = v;
    double sum = 0;
    for (int64_t v = 0; v < x->vocab; v++)
        sum += exp((double)logits[v] - (double)logits[best]);
    x->loss += log(sum) + (double)logits[best] - (double)logits[target];
    x->right += best == target;
    x->targets++;
}

static beam_status decode_rows(evaluation *x, const beam_batch *b)
{
    for (int64_t place = 0;; place++) {
        const int64_t n = fill_step(x, b, place);
        if (n == 0)
            return BEAM_OK;
        BEAM_TRY(beam_decoder_step(x->decoder, x->token, n));
        for (int64_t i = 0, wanted = 0; i < n; i++)
            if (x->target[i] >= 0)
                judge(x, beam_decoder_logits(x->decoder, wanted++), x->target[i]);
    }
}

static void sum_up(const evaluation *x, const beam_model_config *c, beam_decode_eval_result *out)
{
    const beam_decoder_costs costs = beam_decoder_take_costs(x->decoder);
    const double layers = (double)beam_moe_layers(c);
    *out = (beam_decode_eval_result){.loss = x->loss / (double)x->targets,
                                     .accuracy = (double)x->right / (double)x->targets,
                                     .targets = x->targets,
                                     .tokens = costs.tokens,
                                     .steps = costs.steps,
                                     .avg_active = (double)costs.kept / (layers * (double)costs.tokens),
                                     .distinct = (double)costs.distinct / (layers * (double)costs.steps),
                                     .seconds = costs.seconds};
}

beam_status beam_decode_evaluate(const beam_model_config *c, const beam_model_weights *w,
                                 beam_expert_rule rule, const beam_decoder_options *options, beam_loader *l,
                                 int64_t limit, beam_backend *be, beam_decode_eval_result *out)
{
    const int64_t rows = limit > 0 && limit < beam_loader_rows(l) ? limit : beam_loader_rows(l);
    const size_t most = (size_t)options->sequences;
    evaluation x = {.vocab = c->vocab_size,
                    .token = calloc(most, sizeof *x.token),
                    .target = calloc(most, sizeof *x.target)};
    beam_status status =
        x.token && x.target ? BEAM_OK : BEAM_FAIL(BEAM_ENOMEM, "no memory for %zu sequences", most);
    if (!status)
        status = beam_decoder_open(&x.decoder, c, w, rule, options, be);
    for (int64_t row = 0; !status && row < rows; row += options->sequences) {
        const beam_batch *b;
        status = beam_loader_read(l, row, rows, &b);
        if (!status)
            status = decode_rows(&x, b);
    }
    if (!status)
        sum_up(&x, c, out);
    beam_decoder_close(x.decoder);
    free(x.token);
    free(x.target);
    return status;
}
