#include "model/spread_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int spread_ranks(const test_ranks *job, int i)
{
    const int ranks = job->comm.size >> i; /* all of them, then groups of half as many */
    return ranks > 1 ? ranks : 0;
}

beam_model_config spread_config(void)
{
    beam_model_config c = tiny_config(true, false, false);
    c.experts = 8;
    c.top_k = 2;
    return c;
}

void spread_batch(const test_ranks *job, bool uneven, tiny_batch *b)
{
    *b = (tiny_batch){0};
    tiny_batch_make(b);
    for (int t = 0; t < TINY_TOKENS; t++) {
        b->id[t] = (b->id[t] + 3 * job->comm.rank) % TINY_VOCAB;
        b->target[t] = b->target[t] < 0 ? -1 : (b->target[t] + 5 * job->comm.rank) % TINY_VOCAB;
    }
    if (!uneven || job->comm.rank % 2 == 0)
        return;
    beam_batch *front = &b->batch; /* the first sequence alone */
    front->sequences = 1;
    front->tokens = front->counted_total = b->first[1];
    front->targets = 0;
    for (int64_t t = 0; t < front->tokens; t++)
        front->targets += b->target[t] >= 0;
}

beam_model *spread_open(test_ranks *job, const beam_model_config *c, const beam_model_options *options,
                        int ranks)
{
    beam_model *m;
    beam_model_options o = *options;
    o.expert_ranks = ranks;
    o.comm = &job->comm;
    if (beam_model_open(&m, c, &o, &job->be) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return m;
}

beam_tensor spread_share(const beam_model_config *c, beam_tensor whole)
{
    return whole.ndim == 3 ? beam_rows(whole, beam_first_expert(c), beam_held_experts(c)) : whole;
}

void spread_copy(beam_model *spread, beam_model *whole)
{
    const beam_params to = beam_model_params(spread), from = beam_model_params(whole);
    assert_int_equal(to.n, from.n);
    for (int i = 0; i < to.n; i++)
        beam_copy(beam_model_backend(spread), to.at[i].value,
                  spread_share(beam_model_config_of(spread), from.at[i].value));
}

double spread_sum(test_ranks *job, double x)
{
    assert_int_equal(beam_comm_sum(&job->comm, &x, 1), BEAM_OK);
    return x;
}
