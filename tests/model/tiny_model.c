#include "model/tiny_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "model/load.h"
#include "support/values.h"

beam_model_config tiny_config(bool norm_topk, bool tied, bool dense_first)
{
    beam_model_config c = {
        .model_type = "qwen3_moe",
        .vocab_size = TINY_VOCAB,
        .hidden_size = 12,
        .layers = 2,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 6,
        .intermediate_size = 10,
        .moe_intermediate_size = 9, /* not a multiple of the interleaving */
        .experts = 6,
        .top_k = 3,
        .max_positions = 64,
        .norm_topk_prob = norm_topk,
        .tie_word_embeddings = tied,
        .rms_norm_eps = 1e-6,
        .qk_norm = BEAM_QK_NORM_HEAD,
        .rope = {.theta = 10000},
        .initializer_range = 0.02,
        .eos_token_id = -1,
        .mask = {.present = true, .threshold = 0.5, .bias = true, .router_features = true},
    };
    c.moe_layer[0] = !dense_first;
    c.moe_layer[1] = 1;
    beam_model_config_complete(&c);
    return c;
}

void tiny_batch_make(tiny_batch *b)
{
    static const int32_t first[TINY_SEQUENCES + 1] = {0, 7, 8, 11, 13};
    static const int32_t id[TINY_TOKENS] = {3, 7, 1, 10, 4, 2, 6, 6, 0, 5, 8, 0, 0};
    static const int32_t target[TINY_TOKENS] = {7, 1, -1, 4, 2, 6, -1, 9, 5, -1, 3, -1, -1};
    memcpy(b->first, first, sizeof first);
    memcpy(b->id, id, sizeof id);
    memcpy(b->target, target, sizeof target);
    b->batch = (beam_batch){.tokens = TINY_TOKENS,
                            .id = b->id,
                            .target = b->target,
                            .position = b->position,
                            .counted = b->counted,
                            .first = b->first,
                            .sequences = TINY_SEQUENCES};
    for (int s = 0; s < TINY_SEQUENCES; s++)
        for (int32_t t = first[s]; t < first[s + 1]; t++) {
            b->position[t] = t - first[s];
            b->counted[t] = s < TINY_SEQUENCES - 1;
            b->batch.targets += b->target[t] >= 0;
            b->batch.counted_total += b->counted[t];
        }
}

void tiny_fill(beam_model *m, double gates)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++) {
        const beam_param *p = &params.at[i];
        test_fill_normal(p->value, p->name, p->flags & BEAM_MASK_GATE ? gates : 0.4);
        if (strstr(p->name, "norm"))
            for (int64_t j = 0; j < beam_count(p->value); j++)
                test_set(p->value, j, 1 + 0.3 * test_get(p->value, j));
    }
}

beam_model *tiny_open(const beam_model_config *c, beam_scope scope, bool checkpointing, beam_backend *be)
{
    beam_model *m;
    const beam_model_options options = {
        .scope = scope, .max_tokens = TINY_TOKENS, .checkpointing = checkpointing};
    if (beam_model_open(&m, c, &options, be) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    tiny_fill(m, 0.5);
    return m;
}

double tiny_loss(beam_model *m, const beam_batch *b, double penalty, double balance)
{
    double stats[TINY_STATS];
    beam_forward_result r;
    assert_int_equal(beam_model_take_stats(m, NULL), BEAM_OK);
    beam_model_forward(m, b, 0);
    if (beam_model_result(m, &r) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    assert_int_equal(beam_model_take_stats(m, stats), BEAM_OK);
    const double soft = beam_stats_mean(beam_model_config_of(m), stats, BEAM_STAT_SOFT);
    return r.loss / (double)r.targets + balance * r.balance + penalty * soft;
}

void tiny_gradients(beam_model *m, const beam_batch *b, double penalty, double balance)
{
    const beam_model_config *c = beam_model_config_of(m);
    const double pairs = (double)(beam_moe_layers(c) * b->counted_total * c->top_k);
    beam_model_zero_grads(m);
    beam_model_forward(m, b, 1.0 / (double)b->targets);
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = penalty / pairs, .balance = balance});
    assert_int_equal(beam_sync(beam_model_backend(m)), BEAM_OK);
}

const beam_param *tiny_param(beam_model *m, const char *name)
{
    const beam_params params = beam_model_params(m);
    for (int i = 0; i < params.n; i++)
        if (strcmp(params.at[i].name, name) == 0)
            return &params.at[i];
    fail_msg("no parameter %s", name);
    return NULL;
}
