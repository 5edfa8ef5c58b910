#include "train/memory.h"

#include <stdio.h>

#include "comm/sum.h"
#include "core/log.h"
#include "model/count.h"
#include "optim/adamw.h"

enum {
    PROGRAM = 40 << 20, /* resident after a step, beside what the plan counts; measured */
    CONTEXT = 1 << 30,  /* CUDA's own memory on a GPU, kernels, cuBLAS, scratch of operations; assumed */
    COPIES = 3,         /* of every number that trains, in a checkpoint: value and two moments */
};

/* Shapes of more numbers than this are refused and not measured: the bytes of all copies of 2^53 numbers stay
 * within 64 bits. */
static const double most_numbers = 9007199254740992.0;

/* At least as many numbers as one token has in one layer at a time, kept or under way. */
static double numbers_of_token(const beam_model_config *c)
{
    enum { USES = 16 }; /* none of these widths is that of more tensors */
    const double d = (double)c->hidden_size, f = (double)c->moe_intermediate_size;
    const double heads = (double)c->heads * (double)(c->head_dim + c->value_dim);
    const double latents = (double)(c->kv_rank + c->query_rank);
    const double experts = (double)c->experts + (double)c->top_k * (d + f);
    return USES * (d + heads + latents + experts + (double)(c->shared_size + c->intermediate_size));
}

static beam_status check_extent(const beam_model_config *c, int64_t tokens)
{
    beam_parameter_count count;
    BEAM_TRY(beam_model_count(&count, c));
    const double parameters = (double)count.total + (double)count.gates;
    if (parameters + (double)tokens * (double)(c->layers + 1) * numbers_of_token(c) <= most_numbers)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG,
                     "%.3g parameters and micro-batches of %lld tokens are more than any machine holds: "
                     "correct config.json, or take smaller micro-batches",
                     parameters, (long long)tokens);
}

static int64_t count_trained(const beam_params *params)
{
    int64_t n = 0;
    for (int i = 0; i < params->n; i++)
        n += params->at[i].flags & BEAM_TRAIN ? beam_count(params->at[i].value) : 0;
    return n;
}

/* What training adds to the model. */
static void measure_training(beam_memory_need *out, const beam_training *training, beam_dtype real)
{
    const beam_comm alone = {.size = 1, .local_size = 1};
    const beam_comm *comm = training->comm ? training->comm : &alone;
    const beam_dtype wide = beam_wide_of(real);
    const size_t size = beam_dtype_size(wide);
    const int64_t n = (int64_t)(out->model.gradients / size);
    const beam_tensor grads = beam_view(NULL, wide, BEAM_DIMS(n));
    out->optimizer = beam_adamw_bytes(&(beam_span){.n = beam_sum_share(comm, n)}, 1, wide);
    out->accumulation = beam_tree_bytes(grads, training->accumulation);
    out->receiving = beam_sum_bytes(comm, grads);
    out->saving = 2 * COPIES * size * (size_t)out->trained;
    out->here = comm->local_size;
}

beam_status beam_memory_measure(beam_memory_need *out, const beam_model_config *config,
                                const beam_model_options *options, const beam_training *training,
                                beam_place place)
{
    beam_model_weights w;
    const beam_dtype real = place.real;
    *out = (beam_memory_need){.program = PROGRAM, .here = 1};
    BEAM_TRY(check_extent(config, options->max_tokens));
    BEAM_TRY(beam_model_plan(&out->model, config, options, real));
    BEAM_TRY(beam_model_weights_list(&w, config, options->scope, real));
    out->trained = count_trained(&w.params);
    if (training)
        measure_training(out, training, real);
    beam_model_weights_unlist(&w);
    const beam_memory_plan *m = &out->model;
    out->device = place.device;
    if (out->device) { /* one rank per GPU */
        out->here = 1;
        out->host = out->program + out->saving;
        out->program = CONTEXT;
    }
    out->total = m->parameters + m->gradients + m->activations + m->scratch + out->optimizer +
                 out->accumulation + out->receiving + out->program + (out->device ? 0 : out->saving);
    return BEAM_OK;
}

beam_status beam_memory_require(const char *name, const beam_memory_need *need,
                                const beam_host_memory *machine)
{
    char ranks[48] = "";
    const char *place = need->device ? "the GPU" : "this machine";
    const double gb = 1e9, all = (double)need->here * (double)need->total;
    if (machine->total == 0)
        return BEAM_OK;
    if (need->here > 1)
        snprintf(ranks, sizeof ranks, " for its %d ranks on this machine", need->here);
    if (all > (double)machine->total + (double)machine->swap)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "%s: needs %.1f GB of memory%s (its parameters alone %.1f), but %s has %.1f GB and "
                         "%.1f of swap. `beam estimate` says what would fit",
                         name, all / gb, ranks, (double)need->here * (double)need->model.parameters / gb,
                         place, (double)machine->total / gb, (double)machine->swap / gb);
    if (all > (double)machine->available)
        beam_warn("%s: needs %.1f GB of memory%s, but only %.1f GB are free now: the system may end this "
                  "program. `beam estimate` says what would fit",
                  name, all / gb, ranks, (double)machine->available / gb);
    return BEAM_OK;
}
