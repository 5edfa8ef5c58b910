/* What `beam inspect` prints of each kind of thing. */
#ifndef BEAM_CLI_INSPECT_H
#define BEAM_CLI_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

typedef struct {
    bool verify;  /* look at every tensor's numbers; hash every checkpoint of a run */
    bool tensors; /* list them */
    bool json;
    bool experts;     /* what each expert of a model does on `data` */
    const char *data; /* token file; NULL without experts */
    int64_t rows;     /* of it; 0: about BEAM_PROFILE_TOKENS tokens */
} beam_inspect_options;

/* A model folder, a config.json alone, and a safetensors file. */
beam_status beam_inspect_model(const char *folder, const beam_inspect_options *options);
beam_status beam_inspect_config(const char *path, const beam_inspect_options *options);
beam_status beam_inspect_weights(const char *path, const beam_inspect_options *options);

/* A checkpoint folder, which is always verified, and a folder of checkpoints. */
beam_status beam_inspect_checkpoint(const char *folder, const beam_inspect_options *options);
beam_status beam_inspect_run(const char *folder, const beam_inspect_options *options);

/* The experts of a model folder, a random:<config.json>, or what a run has trained so far. */
beam_status beam_inspect_experts(const char *path, const beam_inspect_options *options);

#endif
