/* Parameters as the whole model has them, whoever holds the experts: model/load.h. */
#include <stdlib.h>

#include "model/load.h"
#include "model/model_state.h"

/* Ranks that each have a part of p. */
static int64_t parts(const beam_model *m, const beam_param *p)
{
    return m->config.expert_ranks > 1 && p->value.ndim == 3 ? m->config.expert_ranks : 1;
}

int64_t beam_model_numbers(const beam_model *m, const beam_param *p)
{
    return beam_count(p->value) * parts(m, p);
}

/* Those of the numbers that are here; the others stay as they are. */
static beam_status read_here(beam_model *m, const beam_param *p, int64_t first, int64_t n, float *out)
{
    const int64_t here = beam_count(p->value), before = parts(m, p) > 1 ? m->config.expert_rank * here : 0;
    const int64_t low = first > before ? first : before;
    const int64_t high = first + n < before + here ? first + n : before + here;
    const beam_tensor flat = beam_reshape(p->value, BEAM_DIMS(here));
    if (high <= low)
        return BEAM_OK;
    return beam_tensor_get_f32(m->be, beam_rows(flat, low - before, high - low), out + (low - first));
}

beam_status beam_model_read(beam_model *m, const beam_param *p, int64_t first, int64_t n, float *out)
{
    BEAM_ASSERT(first >= 0 && n >= 0 && first + n <= beam_model_numbers(m, p));
    beam_status status = read_here(m, p, first, n, out);
    if (parts(m, p) == 1)
        return status;
    beam_comm *comm = m->options.comm;
    const int64_t here = beam_count(p->value), group = comm->rank - m->config.expert_rank;
    float *all = malloc((size_t)(n * comm->size) * sizeof *all);
    if (!status && !all)
        status = BEAM_FAIL(BEAM_ENOMEM, "no memory for %lld numbers of every rank", (long long)n);
    if (status && !comm->status) /* the other ranks wait in the gather: the comm is of no use any more */
        comm->status = status;
    beam_comm_host_gather(comm, out, all, (size_t)n * sizeof *out);
    for (int64_t i = 0; i < n && !comm->status; i++)
        out[i] = all[(group + (first + i) / here) * n + i];
    free(all);
    return comm->status;
}
