/* Where a model comes from: a Hugging Face folder, or "random:<config.json>" for fresh numbers of a real
 * shape. */
#ifndef BEAM_TRAIN_SOURCE_H
#define BEAM_TRAIN_SOURCE_H

#include "data/checkpoint.h"
#include "model/model.h"
#include "train/config.h"
#include "train/memory.h"

/* What the caller wants changed of the model in the folder. */
typedef struct {
    int64_t top_k;        /* candidates per token in place of the folder's; 0: the folder's */
    int64_t null_experts; /* given to the routers of a model without gates */
    bool add;             /* give the model gates if the folder has none */
    bool bias, router_features, token_features, give_back;
    double threshold;
    bool open; /* initialise added gates open, with `init_bias`; else zero */
    double init_bias;
    const char *adapter; /* folder whose gates a model without any gets (docs/formats.md); NULL: none */
} beam_gate_request;

/* What beam train asks for. */
beam_gate_request beam_gate_request_of(const beam_config *c);

/* How beam train opens its model. */
beam_model_options beam_model_options_of(const beam_config *c);

/* The config.json of "random:<config.json>"; NULL if the name is a folder's. */
const char *beam_model_source_random(const char *name);

/* Reads config.json, opens the model on `be` and fills it. Gates that the folder has are loaded and win over
 * the request. `seed` is for random models. A model that does not fit into the machine's memory is refused
 * before its weights are looked at; `training` (NULL: none) is that of beam_memory_measure. */
beam_status beam_model_source_open(const char *name, const beam_gate_request *gates,
                                   const beam_model_options *options, const beam_training *training,
                                   uint64_t seed, beam_backend *be, beam_model **out);

/* Reads config.json only, with the request's gates if the folder has none. */
beam_status beam_model_source_config(const char *name, const beam_gate_request *gates,
                                     beam_model_config *out);

/* Where the model of a run came from. */
typedef struct {
    char checkpoint[BEAM_PATH_MAX + 64]; /* the folder it was read from */
    beam_checkpoint_state state;
    beam_config config; /* of the run */
} beam_run_info;

/* The newest complete checkpoint of the folder `run` (or `run` itself, if it is a checkpoint) and the
 * configuration of its run; the state is left alone. */
beam_status beam_run_find(const char *run, beam_run_info *info);

/* Opens the model that a run has trained: its base model with the parameters of the checkpoint that
 * beam_run_find finds. BEAM_EMODEL if the base model is not the one the run started from. Nothing trains. */
beam_status beam_model_source_run(const char *run, int64_t max_tokens, beam_backend *be, beam_model **out,
                                  beam_run_info *info);

/* A hash of the shapes and of a sample of the numbers of every base parameter, as loaded and rounded to
 * bfloat16: to notice another model. The same whatever type they are held in. */
beam_status beam_model_source_fingerprint(beam_model *m, uint64_t *out);

/* The safetensors file of the folder `adapter`; BEAM_EMODEL if there is none. */
beam_status beam_adapter_path(const char *adapter, char *path, size_t size);

/* BEAM_EMODEL if the gates of the folder `adapter`, whose configuration `c` has, were trained on another base
 * model than these parameters, read from `base`. A warning if the adapter does not say. */
beam_status beam_adapter_check(const char *adapter, const char *base, const beam_model_config *c,
                               beam_params params, beam_backend *be);

/* Whether a GPU computes where a configuration says so, for `ranks` ranks on this machine. */
bool beam_uses_device(beam_backend_kind kind, int ranks);

/* The memory of the first GPU, all of it counted as free; zeros without one. */
void beam_device_memory_look(beam_host_memory *out);

/* Opens the backend a configuration asks for: a GPU, or `threads` of the processor. `auto` is a GPU where the
 * program has code for one and this machine has as many as ranks; a rank takes that of its local_rank
 * (`comm`; NULL: a process alone). A GPU computes in bf16 if that is asked for, else in float32. */
beam_status beam_open_backend(beam_backend_kind kind, beam_bf16_use bf16, const beam_comm *comm,
                              int64_t threads, beam_backend *out);

#endif
