/* The model that a verb was asked to use: --model or --run, --masks, --threads. */
#ifndef BEAM_CLI_OPENED_H
#define BEAM_CLI_OPENED_H

#include "data/ids.h"
#include "model/model.h"
#include "train/source.h"

/* Where a verb computes. */
typedef struct {
    const char *name; /* "auto", "cpu", "cuda"; NULL: auto */
    bool bf16;
} beam_backend_choice;

#define BEAM_BACKEND_OPTIONS(choice)                                                                         \
    {"backend", BEAM_TEXT, &(choice).name, "auto|cpu|cuda", "default: a GPU, if there is one"},              \
    {                                                                                                        \
        "bf16", BEAM_FLAG, &(choice).bf16, NULL, "on a GPU: weights and activations in bfloat16"             \
    }

/* For decoding, which is in float32 with weights as they are stored. */
#define BEAM_DECODE_BACKEND_OPTION(choice)                                                                   \
    {                                                                                                        \
        "backend", BEAM_TEXT, &(choice).name, "cpu|cuda|auto", "where to decode (default: cpu)"              \
    }

beam_status beam_backend_choice_open(const beam_backend_choice *choice, int64_t threads, beam_backend *out);

/* BEAM_ECONFIG unless --threads is 0 (all cores) to 4096. */
beam_status beam_check_threads(int64_t threads);

/* The options as given; NULL where absent. */
typedef struct {
    const char *model;   /* a Hugging Face folder, or random:<config.json> */
    const char *run;     /* output_dir of beam train, or one of its checkpoints; exactly one of the two */
    const char *adapter; /* with `model`, a base: folder of its mask gates */
    const char *masks;   /* "on", "off"; NULL: on if the model has mask gates */
    int64_t threads;     /* 0: all cores */
    beam_backend_choice backend;
} beam_model_choice;

typedef struct {
    const beam_model_choice *choice;
    const char *name;         /* of the folder that is read, for messages and output */
    beam_model_config config; /* known before any tensor is read */
    bool masks;               /* whether they decide */
    beam_run_info run;        /* of --run */
    beam_backend backend;
    beam_model *model;
} beam_opened;

/* Checks the options and reads the model's shapes; `choice` must outlive *o. Close also after a failure. */
beam_status beam_opened_look(beam_opened *o, const beam_model_choice *choice);

/* BEAM_EDATA with file and line if a line has more ids than the model has positions; `path` is the file's. */
beam_status beam_opened_check_lines(const beam_opened *o, const char *path, const beam_id_lines *lines);

/* Loads the model and applies --masks. --run only evaluates: its scope is BEAM_SCOPE_NONE. */
beam_status beam_opened_load(beam_opened *o, const beam_model_options *options);
void beam_opened_close(beam_opened *o);

#endif
