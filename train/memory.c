#include "train/memory.h"

#include "comm/reduce.h"
#include "core/log.h"
#include "optim/adamw.h"

enum {
    PROGRAM = 40 << 20, /* resident after a step, beside what the plan counts; measured */
    COPIES = 3,         /* of every number that trains, in a checkpoint: value and two moments */
};

static int64_t count_trained(const beam_params *params)
{
    int64_t n = 0;
    for (int i = 0; i < params->n; i++)
        n += params->at[i].flags & BEAM_TRAIN ? beam_count(params->at[i].value) : 0;
    return n;
}

/* What training adds to the model. */
static void measure_training(beam_memory_need *out, const beam_params *params, int64_t accumulation,
                             beam_dtype real)
{
    const size_t size = beam_dtype_size(real);
    const beam_tensor grads = beam_view(NULL, real, BEAM_DIMS((int64_t)(out->model.gradients / size)));
    out->optimizer = beam_adamw_bytes(*params);
    out->accumulation = beam_tree_bytes(grads, accumulation);
    out->saving = 2 * COPIES * size * (size_t)out->trained;
}

beam_status beam_memory_measure(beam_memory_need *out, const beam_model_config *config,
                                const beam_model_options *options, int64_t accumulation, beam_dtype real)
{
    beam_model_weights w;
    *out = (beam_memory_need){.program = PROGRAM};
    BEAM_TRY(beam_model_plan(&out->model, config, options, real));
    BEAM_TRY(beam_model_weights_list(&w, config, options->scope, real));
    out->trained = count_trained(&w.params);
    if (accumulation > 0)
        measure_training(out, &w.params, accumulation, real);
    beam_model_weights_unlist(&w);
    const beam_memory_plan *m = &out->model;
    out->total = m->parameters + m->gradients + m->activations + m->scratch + out->optimizer +
                 out->accumulation + out->program + out->saving;
    return BEAM_OK;
}

beam_status beam_memory_require(const char *name, const beam_memory_need *need,
                                const beam_host_memory *machine)
{
    const double gb = 1e9, total = (double)need->total / gb;
    if (machine->total == 0)
        return BEAM_OK;
    if ((int64_t)need->total > machine->total + machine->swap)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "%s: needs %.1f GB of memory (its parameters alone %.1f), but this machine has %.1f GB and "
            "%.1f of swap. `beam estimate` says what would fit",
            name, total, (double)need->model.parameters / gb, (double)machine->total / gb,
            (double)machine->swap / gb);
    if ((int64_t)need->total > machine->available)
        beam_warn("%s: needs %.1f GB of memory, but only %.1f GB are free now: the system may end this "
                  "program. `beam estimate` says what would fit",
                  name, total, (double)machine->available / gb);
    return BEAM_OK;
}
