#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/rng.h"
#include "optim/schedule.h"
#include "train/source.h"

static beam_status open_loader(const beam_config *c, const char *path, bool train, beam_loader **out)
{
    const beam_loader_options options = {
        .path = path,
        .sequence = c->cutoff_len,
        .rows = c->per_device_train_batch_size,
        .packing = c->packing,
        .shuffle = train,
        .seed = c->seed,
    };
    return beam_loader_open(&options, out);
}

static beam_status check_vocabulary(const beam_model_config *m, const beam_loader *l, const char *path)
{
    const int64_t vocab = m->vocab_size;
    if (beam_loader_vocab(l) > vocab)
        return BEAM_FAIL(
            BEAM_EDATA,
            "%s: holds token ids up to %lld, but the model's vocabulary has %lld: the file was made with "
            "another tokenizer",
            path, (long long)beam_loader_vocab(l) - 1, (long long)vocab);
    return BEAM_OK;
}

beam_status beam_run_open_data(const beam_config *c, beam_loader **train, beam_loader **eval)
{
    BEAM_TRY(open_loader(c, c->dataset, true, train));
    if (c->eval_dataset[0])
        BEAM_TRY(open_loader(c, c->eval_dataset, false, eval));
    return BEAM_OK;
}

beam_status beam_run_check(const beam_config *c, const beam_model_config *m, const beam_loader *train,
                           const beam_loader *eval)
{
    BEAM_TRY(check_vocabulary(m, train, c->dataset));
    if (eval)
        BEAM_TRY(check_vocabulary(m, eval, c->eval_dataset));
    if (c->cutoff_len > m->max_positions)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "cutoff_len is %lld, but %s has max_position_embeddings %lld; lower cutoff_len",
                         (long long)c->cutoff_len, c->model_name_or_path, (long long)m->max_positions);
    if (c->mask.mode == BEAM_MASK_OFF && m->mask.present)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "mask.mode is off, but %s has mask gates; give the base model it was made from",
                         c->model_name_or_path);
    /* Only where both put the cut at u = 0 do the exported masks, without a temperature, keep what the last
     * steps kept. */
    if (m->mask.present && c->mask.temperature_end != 1 && m->mask.threshold != 0.5)
        return BEAM_FAIL(
            BEAM_ECONFIG,
            "mask.temperature_end is %g and the masks' threshold %g: evaluation and export know no "
            "temperature and would drop other experts than the last steps do; end at 1, or take "
            "mask.threshold: 0.5",
            c->mask.temperature_end, m->mask.threshold);
    if (c->mask.target_active > (double)m->top_k) /* false for NaN: no target */
        return BEAM_FAIL(BEAM_ECONFIG, "mask.target_active is %g, but %s runs only %lld experts per token",
                         c->mask.target_active, c->model_name_or_path, (long long)m->top_k);
    return BEAM_OK;
}

static beam_status open_model(beam_trainer *t)
{
    const beam_config *c = t->config;
    beam_model_options options = beam_model_options_of(c);
    options.expert_ranks = (int)c->expert_parallel;
    options.comm = t->comm;
    const beam_gate_request gates = beam_gate_request_of(c);
    const beam_training training = {.accumulation = c->gradient_accumulation_steps, .comm = t->comm};
    BEAM_TRY(beam_model_source_open(c->model_name_or_path, &gates, &options, &training, c->seed, &t->backend,
                                    &t->model));
    beam_model_keep_teacher(t->model);
    return BEAM_OK;
}

/* What the optimizer and a step work in. */
static beam_status open_optimizer(beam_trainer *t)
{
    beam_backend *be = &t->backend;
    const int64_t leaves = t->config->gradient_accumulation_steps;
    const beam_model_config *m = beam_model_config_of(t->model);
    const beam_tensor grads = beam_model_grads(t->model);
    const int64_t layers = beam_moe_layers(m), stats = layers * (BEAM_STAT_EXPERTS + m->experts);
    BEAM_TRY(beam_sum_open(&t->sum, t->comm, be, grads, leaves));
    BEAM_TRY(beam_shard_open(&t->shard, &t->sum));
    BEAM_TRY(
        beam_adamw_open(&t->adamw, beam_model_params(t->model), grads, t->shard.own, t->shard.n_own, be));
    t->adamw.base_rate = t->config->base_lr_ratio;
    BEAM_TRY(beam_leaf_sums_open(&t->leaves, BEAM_SUM_STATS + stats, leaves));
    const int64_t units = t->shard.units;
    t->sums = calloc((size_t)(t->leaves.n + 1 + units), sizeof *t->sums);
    t->active = calloc((size_t)layers + 1, sizeof *t->active);
    if (!t->sums || !t->active)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the numbers of a step");
    void *squares = beam_alloc(be, (size_t)units * sizeof(double), "squares of gradients");
    t->squares = beam_view(squares, BEAM_F64, BEAM_DIMS(units));
    void *offset = beam_alloc(be, beam_dtype_size(be->wide), "offset of the mask logits");
    t->gate_offset = beam_view(offset, be->wide, BEAM_DIMS(1));
    return be->status;
}

int64_t beam_trainer_rows(const beam_trainer *t)
{
    return t->config->per_device_train_batch_size;
}

int64_t beam_trainer_step_rows(const beam_trainer *t)
{
    return beam_trainer_rows(t) * t->config->gradient_accumulation_steps * t->comm->size;
}

int64_t beam_run_steps(const beam_config *c, int64_t epoch_rows, int64_t step_rows)
{
    const double rows = c->num_train_epochs * (double)epoch_rows;
    return c->max_steps ? c->max_steps : (int64_t)ceil(rows / (double)step_rows);
}

static void plan_steps(beam_trainer *t)
{
    const beam_config *c = t->config;
    t->total_steps = beam_run_steps(c, beam_loader_rows(t->train), beam_trainer_step_rows(t));
    static const beam_decay_kind decay[] = {[BEAM_LR_CONSTANT] = BEAM_DECAY_CONSTANT,
                                            [BEAM_LR_LINEAR] = BEAM_DECAY_LINEAR,
                                            [BEAM_LR_COSINE] = BEAM_DECAY_COSINE};
    t->schedule = (beam_schedule){
        .kind = decay[c->lr_scheduler_type],
        .peak = c->learning_rate,
        .min_ratio = c->min_lr_ratio,
        .warmup = c->warmup_steps ? c->warmup_steps : (int64_t)ceil(c->warmup_ratio * (double)t->total_steps),
        .total = t->total_steps,
    };
    t->target = (beam_target){.target = c->mask.target_active,
                              .rate = c->mask.target_rate,
                              .k = (double)beam_model_config_of(t->model)->top_k,
                              .warmup = c->mask.penalty_warmup_steps,
                              .total = t->total_steps};
}

/* All that a rank can do before it hears of the others. */
static beam_status open_alone(beam_trainer *t)
{
    const beam_config *c = t->config;
    BEAM_TRY(beam_open_backend(c->backend, c->bf16, t->comm, c->threads, &t->backend));
    BEAM_TRY(beam_run_open_data(c, &t->train, &t->eval)); /* before the model: a wrong path shows at once */
    BEAM_TRY(open_model(t));
    BEAM_TRY(beam_run_check(c, beam_model_config_of(t->model), t->train, t->eval));
    t->state = (beam_checkpoint_state){
        .average_active = -1,
        .best_loss = -1,
        .eval_loss = -1,
        .data_hash = beam_loader_hash(t->train),
        .config_hash = beam_config_hash(c, t->comm->size),
    };
    memcpy(t->state.model, c->model_name_or_path, strnlen(c->model_name_or_path, sizeof t->state.model - 1));
    return BEAM_OK;
}

/* Of what decides when all ranks do something together besides steps. */
static uint64_t hash_of_occasions(const beam_config *c)
{
    const int64_t keys[] = {c->eval_steps, c->eval_rows, c->save_steps, c->max_skipped_steps};
    uint64_t hash = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        hash = beam_random_bits(hash, (uint64_t)keys[i], i);
    return hash;
}

/* What decides which calls the ranks make together, so it comes before any call that not all might make. */
static beam_status agree_on_settings(const beam_trainer *t)
{
    const beam_config *c = t->config;
    const uint64_t backend =
        beam_random_bits(beam_hash_string(t->backend.ops->name), (uint64_t)t->backend.real, 0);
    BEAM_TRY(beam_comm_agree(t->comm, "the version of beam", beam_hash_string(BEAM_VERSION)));
    BEAM_TRY(beam_comm_agree(t->comm, "the configuration", t->state.config_hash));
    BEAM_TRY(beam_comm_agree(t->comm, "backend and bf16", backend));
    return beam_comm_agree(t->comm, "when to evaluate and save", hash_of_occasions(c));
}

/* What the ranks must have in common to work on one run. */
static beam_status agree_on_content(const beam_trainer *t)
{
    const uint64_t eval = t->eval ? beam_loader_hash(t->eval) : 0;
    BEAM_TRY(beam_comm_agree(t->comm, "the base model", t->state.model_hash));
    BEAM_TRY(beam_comm_agree(t->comm, "the dataset", t->state.data_hash));
    BEAM_TRY(beam_comm_agree(t->comm, "the dataset for evaluation", eval));
    return beam_comm_agree(t->comm, "the number of steps", (uint64_t)t->total_steps);
}

beam_status beam_trainer_open(beam_trainer *t, const beam_config *c, beam_comm *comm)
{
    *t = (beam_trainer){.config = c, .comm = comm};
    BEAM_TRY(beam_comm_verdict(comm, open_alone(t)));
    BEAM_TRY(agree_on_settings(t));
    plan_steps(t);
    BEAM_TRY(beam_comm_verdict(comm, beam_comm_attach(comm, &t->backend)));
    BEAM_TRY(beam_comm_verdict(comm, beam_model_source_fingerprint(t->model, &t->state.model_hash)));
    BEAM_TRY(agree_on_content(t));
    return beam_comm_verdict(comm, open_optimizer(t));
}

void beam_trainer_close(beam_trainer *t)
{
    if (t->backend.ops) {
        beam_free(&t->backend, t->gate_offset.data);
        beam_free(&t->backend, t->squares.data);
        beam_adamw_close(&t->adamw, &t->backend);
        beam_shard_close(&t->shard);
        beam_sum_close(&t->sum);
        beam_model_close(t->model);
        beam_backend_close(&t->backend);
    }
    beam_leaf_sums_close(&t->leaves);
    beam_loader_close(t->train);
    beam_loader_close(t->eval);
    free(t->sums);
    free(t->active);
    *t = (beam_trainer){0};
}
