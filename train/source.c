#include "train/source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "data/file.h"
#include "kernels/cuda/devices.h"
#include "model/families/families.h"
#include "model/load.h"
#include "train/snapshot.h"

const char *beam_model_source_random(const char *name)
{
    static const char prefix[] = "random:";
    return strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : NULL;
}

beam_gate_request beam_gate_request_of(const beam_config *c)
{
    return (beam_gate_request){
        .top_k = c->num_experts_per_tok,
        .null_experts = c->null_experts,
        .add = c->mask.mode == BEAM_MASK_ON,
        .bias =
            c->mask.init == BEAM_INIT_OPEN || !isnan(c->mask.target_active), /* which the controller moves */
        .router_features = c->mask.router_features,
        .token_features = c->mask.token_features,
        .give_back = c->mask.give_back,
        .threshold = c->mask.threshold,
        .open = c->mask.init == BEAM_INIT_OPEN,
        .init_bias = c->mask.init_bias,
    };
}

beam_model_options beam_model_options_of(const beam_config *c)
{
    static const beam_scope scope[] = {[BEAM_TRAIN_MASKS] = BEAM_SCOPE_MASKS,
                                       [BEAM_TRAIN_ROUTERS] = BEAM_SCOPE_ROUTERS,
                                       [BEAM_TRAIN_ALL] = BEAM_SCOPE_ALL};
    return (beam_model_options){
        .scope = scope[c->trainable],
        .max_tokens = c->per_device_train_batch_size * c->cutoff_len,
        .checkpointing = c->gradient_checkpointing,
        .distill = {.weight = c->distill.weight, .temperature = c->distill.temperature},
    };
}

/* Another number of candidates than config.json says. */
static beam_status set_top_k(const char *path, int64_t top_k, beam_model_config *c)
{
    const int64_t most = c->experts / c->expert_groups * c->kept_groups;
    if (top_k == 0 || top_k == c->top_k)
        return BEAM_OK;
    if (c->mask.present && c->mask.router_features)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "num_experts_per_tok is %lld, but the mask gates of %s are made for %lld candidates",
                         (long long)top_k, path, (long long)c->top_k);
    if (top_k > most)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "num_experts_per_tok is %lld, but %s has only %lld experts to choose from",
                         (long long)top_k, path, (long long)most);
    c->top_k = top_k;
    return BEAM_OK;
}

static beam_status add_nulls(const char *path, int64_t nulls, beam_model_config *c)
{
    if (nulls == 0)
        return BEAM_OK;
    if (c->mask.present)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "null_experts: the model of %s has mask gates; give the base model it was made from",
                         path);
    if (c->expert_groups > 1)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "null_experts: the routers of %s choose among groups of experts, and a null expert "
                         "belongs to none; take a model without groups",
                         path);
    if (beam_moe_layers(c) == 0)
        return BEAM_FAIL(BEAM_ECONFIG, "null_experts: no layer of %s is a mixture of experts", path);
    c->null_experts = nulls;
    return BEAM_OK;
}

/* The masks of an adapter, whose config.json is the base's with an expert_mask block. */
static beam_status take_adapter(const char *adapter, const char *base, beam_model_config *out)
{
    char path[BEAM_PATH_MAX + 32];
    beam_model_config c;
    BEAM_TRY(beam_join_path(path, sizeof path, adapter, "config.json"));
    BEAM_TRY(beam_model_config_read(path, &c));
    if (!c.mask.present)
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: has no expert_mask block; --adapter wants what beam export --adapter-only wrote", path);
    if (out->mask.present)
        return BEAM_FAIL(BEAM_EMODEL,
                         "--adapter %s: the model %s has mask gates of its own; give the base model that "
                         "the adapter was trained on",
                         adapter, base);
    if (strcmp(c.model_type, out->model_type) != 0 || c.layers != out->layers ||
        c.hidden_size != out->hidden_size || c.experts != out->experts || c.vocab_size != out->vocab_size ||
        memcmp(c.moe_layer, out->moe_layer, sizeof c.moe_layer) != 0)
        return BEAM_FAIL(BEAM_EMODEL,
                         "--adapter %s: made for a model of another shape than %s; give the base model "
                         "that it was trained on",
                         adapter, base);
    BEAM_TRY(set_top_k(base, c.top_k, out));
    out->mask = c.mask;
    return BEAM_OK;
}

beam_status beam_model_source_config(const char *name, const beam_gate_request *gates, beam_model_config *out)
{
    char path[BEAM_PATH_MAX + 32];
    const char *config_json = beam_model_source_random(name);
    if (config_json)
        snprintf(path, sizeof path, "%s", config_json);
    else if (beam_folder_exists(name))
        BEAM_TRY(beam_join_path(path, sizeof path, name, "config.json"));
    else
        return BEAM_FAIL(
            BEAM_EMODEL,
            "%s: no such folder. A model is a Hugging Face folder (config.json and safetensors), or "
            "random:<config.json>",
            name);
    BEAM_TRY(beam_model_config_read(path, out));
    BEAM_TRY(set_top_k(path, gates->top_k, out));
    BEAM_TRY(add_nulls(path, gates->null_experts, out));
    if (gates->adapter)
        BEAM_TRY(take_adapter(gates->adapter, name, out));
    if (!out->mask.present && gates->add)
        out->mask = (beam_mask_config){.present = true,
                                       .threshold = gates->threshold,
                                       .bias = gates->bias,
                                       .router_features = gates->router_features,
                                       .give_back = gates->give_back};
    out->mask.fixed_weight = gates->add && !gates->token_features;
    if (gates->add && beam_moe_layers(out) == 0)
        return BEAM_FAIL(BEAM_EMODEL, "%s: no layer is a mixture of experts, so there is nothing to mask",
                         path);
    return BEAM_OK;
}

static beam_status fill_gates(beam_model *m, const char *name, const beam_gate_request *gates)
{
    const beam_model_config *c = beam_model_config_of(m);
    char path[BEAM_PATH_MAX + 32];
    if (!gates->adapter)
        return beam_model_init_gates(m, gates->open ? BEAM_GATES_OPEN : BEAM_GATES_ZERO, gates->init_bias);
    BEAM_TRY(beam_adapter_path(gates->adapter, path, sizeof path));
    BEAM_TRY(beam_gates_load(beam_model_params(m), c, path, beam_model_backend(m)));
    return beam_adapter_check(gates->adapter, name, c, beam_model_params(m), beam_model_backend(m));
}

static beam_status fill(beam_model *m, const char *name, const beam_gate_request *gates,
                        bool folder_has_gates, uint64_t seed)
{
    if (beam_model_source_random(name))
        BEAM_TRY(beam_model_init_base(m, seed));
    else
        BEAM_TRY(beam_model_load(m, name, folder_has_gates));
    BEAM_TRY(beam_model_init_nulls(m, seed));
    if (!folder_has_gates && beam_model_config_of(m)->mask.present)
        BEAM_TRY(fill_gates(m, name, gates));
    return BEAM_OK;
}

static void warn_overruled(const char *name, const beam_mask_config *found, const beam_gate_request *asked)
{
    if (found->threshold != asked->threshold || found->bias != asked->bias ||
        found->router_features != asked->router_features || found->give_back != asked->give_back)
        beam_warn("%s brings its own mask gates (threshold %g, bias %s, router features %s, give back %s); "
                  "mask.threshold, mask.init, mask.router_features and mask.give_back do not change them",
                  name, found->threshold, found->bias ? "yes" : "no", found->router_features ? "yes" : "no",
                  found->give_back ? "yes" : "no");
}

void beam_device_memory_look(beam_host_memory *out)
{
    beam_cuda_device gpu = {0};
    beam_cuda_devices(&gpu, 1);
    *out = (beam_host_memory){.total = (int64_t)gpu.memory, .available = (int64_t)gpu.memory};
}

static beam_status require_memory(const char *name, const beam_model_config *config,
                                  const beam_model_options *options, const beam_training *training,
                                  const beam_backend *be)
{
    beam_memory_need need;
    beam_host_memory machine;
    const beam_place place = {.real = be->real, .device = be->device_memory};
    BEAM_TRY(beam_memory_measure(&need, config, options, training, place));
    if (place.device)
        beam_device_memory_look(&machine);
    else
        beam_host_memory_look("", &machine);
    return beam_memory_require(name, &need, &machine);
}

beam_status beam_model_source_open(const char *name, const beam_gate_request *gates,
                                   const beam_model_options *options, const beam_training *training,
                                   uint64_t seed, beam_backend *be, beam_model **out)
{
    beam_model_config config, plain;
    *out = NULL;
    BEAM_TRY(beam_model_source_config(name, &(beam_gate_request){0}, &plain));
    BEAM_TRY(beam_model_source_config(name, gates, &config));
    BEAM_TRY(require_memory(name, &config, options, training, be));
    BEAM_TRY(beam_model_open(out, &config, options, be));
    if (plain.mask.present && gates->add)
        warn_overruled(name, &plain.mask, gates);
    const beam_status status =
        fill(*out, name, gates, plain.mask.present && !beam_model_source_random(name), seed);
    if (status) {
        beam_model_close(*out);
        *out = NULL;
    }
    return status;
}

static beam_status find_checkpoint(const char *run, beam_run_info *info)
{
    char manifest[BEAM_PATH_MAX + 32];
    bool found = true;
    BEAM_TRY(beam_join_path(manifest, sizeof manifest, run, "manifest.json"));
    if (beam_file_exists(manifest)) {
        snprintf(info->checkpoint, sizeof info->checkpoint, "%s", run);
        return BEAM_OK;
    }
    if (!beam_folder_exists(run))
        return BEAM_FAIL(BEAM_EMODEL, "%s: no such folder; --run wants the output_dir of beam train", run);
    BEAM_TRY(beam_checkpoint_newest(run, info->checkpoint, sizeof info->checkpoint, &found));
    return found ? BEAM_OK : BEAM_FAIL(BEAM_EMODEL, "%s: holds no complete checkpoint", run);
}

/* `base` is the fingerprint of the base model as loaded. */
static beam_status check_base(const beam_run_info *info, uint64_t base)
{
    if (info->state.model_hash == base)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_EMODEL,
                     "%s: was made from another base model than the one that is now in %s; put the model it "
                     "belongs to there",
                     info->checkpoint, info->config.model_name_or_path);
}

/* Marks the parameters that the run trained, as the trainer's model had them. */
static beam_status mark_trained(beam_model *m, const beam_config *c)
{
    const beam_params params = beam_model_params(m);
    beam_model_weights list;
    BEAM_TRY(
        beam_model_weights_list(&list, beam_model_config_of(m), beam_model_options_of(c).scope, BEAM_F32));
    for (int i = 0; i < params.n; i++)
        if (list.params.at[i].flags & BEAM_TRAIN)
            params.at[i].flags |= BEAM_TRAINED;
    beam_model_weights_unlist(&list);
    return BEAM_OK;
}

/* The values of every parameter that the run trained. */
static beam_status read_values(beam_model *m, beam_run_info *info)
{
    uint64_t base;
    beam_snapshot s;
    BEAM_TRY(beam_model_source_fingerprint(m, &base));
    BEAM_TRY(mark_trained(m, &info->config));
    BEAM_TRY(beam_snapshot_open(&s, beam_model_params(m), BEAM_TRAINED, false));
    beam_status status = beam_checkpoint_read_some(info->checkpoint, &info->state, s.arrays, s.n);
    if (!status)
        status = check_base(info, base);
    if (!status)
        status = beam_snapshot_upload(&s, BEAM_SNAPSHOT_VALUE, beam_model_backend(m));
    beam_snapshot_close(&s);
    return status;
}

beam_status beam_run_find(const char *run, beam_run_info *info)
{
    char path[sizeof info->checkpoint + 16];
    BEAM_TRY(find_checkpoint(run, info));
    BEAM_TRY(beam_join_path(path, sizeof path, info->checkpoint, "config.yaml"));
    return beam_config_load(path, NULL, 0, &info->config, NULL);
}

beam_status beam_model_source_run(const char *run, int64_t max_tokens, beam_backend *be, beam_model **out,
                                  beam_run_info *info)
{
    *out = NULL;
    BEAM_TRY(beam_run_find(run, info));
    const beam_gate_request gates = beam_gate_request_of(&info->config);
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = max_tokens};
    BEAM_TRY(beam_model_source_open(info->config.model_name_or_path, &gates, &options, NULL,
                                    info->config.seed, be, out));
    const beam_status status = read_values(*out, info);
    if (status) {
        beam_model_close(*out);
        *out = NULL;
    }
    return status;
}

bool beam_uses_device(beam_backend_kind kind, int ranks)
{
    return kind == BEAM_BACKEND_CUDA ||
           (kind == BEAM_BACKEND_AUTO && beam_cuda_compiled() && beam_cuda_devices(NULL, 0) >= ranks);
}

beam_status beam_open_backend(beam_backend_kind kind, beam_bf16_use bf16, const beam_comm *comm,
                              int64_t threads, beam_backend *out)
{
    const beam_dtype real = bf16 == BEAM_BF16_ON ? BEAM_BF16 : BEAM_F32;
    if (beam_uses_device(kind, comm ? comm->local_size : 1))
        return beam_backend_cuda(out, comm ? comm->local_rank : 0, real);
    if (bf16 == BEAM_BF16_ON)
        beam_warn("bf16: true is for GPUs; this processor computes in float32");
    return beam_backend_cpu(out, (int)threads);
}
