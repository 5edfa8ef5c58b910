/* A run's configuration: one table of keys gives parsing, ranges, defaults, help, the reference page and the
 * resolved dump. Unknown, duplicate, mistyped and out-of-range keys are errors with file, line, column and
 * the nearest name. */
#ifndef BEAM_TRAIN_CONFIG_H
#define BEAM_TRAIN_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

enum { BEAM_PATH_MAX = 1024, BEAM_MAX_FILES = 16 };

typedef enum { BEAM_TRAIN_MASKS, BEAM_TRAIN_ROUTERS, BEAM_TRAIN_ALL } beam_trainable;
typedef enum { BEAM_MASK_OFF, BEAM_MASK_ON } beam_mask_mode;
typedef enum { BEAM_INIT_OPEN, BEAM_INIT_ZERO } beam_mask_init;
typedef enum { BEAM_FORM_HARD, BEAM_FORM_SOFT } beam_form_kind;
typedef enum { BEAM_NORM_L1, BEAM_NORM_L2 } beam_penalty_norm;
typedef enum { BEAM_LR_CONSTANT, BEAM_LR_LINEAR, BEAM_LR_COSINE } beam_lr_kind;
typedef enum { BEAM_BF16_AUTO, BEAM_BF16_OFF, BEAM_BF16_ON } beam_bf16_use;
typedef enum { BEAM_REPORT_NONE, BEAM_REPORT_TENSORBOARD } beam_report_to;
typedef enum { BEAM_BACKEND_AUTO, BEAM_BACKEND_CPU, BEAM_BACKEND_CUDA } beam_backend_kind;

typedef struct {
    /* model */
    char model_name_or_path[BEAM_PATH_MAX]; /* a folder, or random:<config.json> */
    beam_trainable trainable;
    beam_backend_kind backend;
    beam_bf16_use bf16;
    int64_t threads; /* 0: all cores */
    bool gradient_checkpointing;
    int64_t expert_parallel;     /* ranks */
    double router_aux_loss_coef; /* only where the router trains */
    int64_t num_experts_per_tok; /* 0: as in config.json */
    int64_t null_experts;

    /* masks */
    struct {
        beam_mask_mode mode; /* on | off */
        beam_mask_init init;
        double init_bias, threshold;
        double penalty;       /* beta; NAN when target_active is given instead */
        double target_active; /* NAN: fixed beta */
        double target_rate;   /* eta of the controller */
        int64_t penalty_warmup_steps;
        beam_penalty_norm penalty_norm;
        double union_penalty; /* 0: no such term */
        int64_t union_batch;
        beam_form_kind form;
        double temperature, temperature_end;
        bool router_features, token_features, give_back;
        char protect[BEAM_PATH_MAX]; /* none | auto | layer:expert ... (train/protect.h) */
    } mask;

    struct {
        double weight, temperature;
    } distill;

    /* data: token files (.h5) for train and eval; text or JSONL for preprocess */
    char dataset[BEAM_PATH_MAX];
    char eval_dataset[BEAM_PATH_MAX]; /* "" = none */
    int64_t cutoff_len;
    bool packing;

    /* optimization */
    int64_t per_device_train_batch_size, gradient_accumulation_steps;
    double learning_rate; /* of mask gates */
    double base_lr_ratio; /* of the base model's parameters, as a multiple */
    double min_lr_ratio, warmup_ratio, weight_decay, adam_beta1, adam_beta2, adam_epsilon, max_grad_norm;
    int64_t warmup_steps; /* 0: warmup_ratio decides */
    beam_lr_kind lr_scheduler_type;
    double num_train_epochs;
    int64_t max_steps;         /* 0: num_train_epochs decides */
    int64_t max_skipped_steps; /* non-finite steps in a row that are endured */
    uint64_t seed;

    /* output */
    char output_dir[BEAM_PATH_MAX];
    beam_report_to report_to;                                        /* besides metrics.jsonl */
    int64_t logging_steps, eval_steps, save_steps, save_total_limit; /* 0: only at the end */
    int64_t eval_rows; /* rows of eval_dataset per evaluation during training; 0: all */
    char resume_from_checkpoint[BEAM_PATH_MAX]; /* auto | none | a checkpoint folder */
} beam_config;

/* Defaults, then the YAML file (none if `path` is NULL), then the overrides, then cross-key checks.
 * BEAM_ECONFIG on the first thing wrong. `out` is overwritten. Overrides are what stood on the command line
 * after the file: "key=value",
 * "--key=value", or "--key" followed by "value"; a dash in a key counts as an underscore. The value `null`
 * means "not given" and brings the default back.
 * If `origins` is not NULL it receives where each value came from, parallel to the table of keys: "default",
 * "run.yaml:12" or "command line". Free with beam_config_free_origins. NULL on failure. */
beam_status beam_config_load(const char *path, const char *const overrides[], int n, beam_config *out,
                             char ***origins);

/* The resolved configuration as YAML that loads back to itself. If `origins` (from beam_config_load, may be
 * NULL) is given, each line ends with a comment that says where its value came from. */
void beam_config_dump(const beam_config *c, char *const origins[], FILE *to);

/* The same as one JSON object: {"config": {"seed": 42, "mask": {...}, ...}, "origins": {"seed": "default",
 * "mask.penalty": "run.yaml:12", ...}}. */
void beam_config_dump_json(const beam_config *c, char *const origins[], FILE *to);
/* The same as new text, which the caller frees. */
beam_status beam_config_text(const beam_config *c, char *const origins[], char **text);

void beam_config_free_origins(char **origins); /* accepts NULL */

/* A hash of every key that changes the numbers of a run by `ranks` ranks. Left out: what only says where, how
 * often or on which device (output_dir, logging, evaluation, saving, threads, backend,
 * gradient_checkpointing), and the paths of the model and the data, whose content has its own hashes. Of
 * gradient_accumulation_steps and the ranks only the product counts. */
uint64_t beam_config_hash(const beam_config *c, int ranks);

/* The reference page (Markdown): every key with type, range, default and meaning. */
void beam_config_reference(FILE *to);

/* One key in words. */
typedef struct {
    const char *name;
    const char *group; /* heading, where a new one begins; else NULL */
    const char *takes; /* "a number > 0" */
    const char *initial;
    const char *aliases; /* separated by one space; NULL: none */
    const char *help;    /* with `code` */
} beam_key_text;

typedef void (*beam_config_reader)(const beam_key_text *key, void *context);

/* Shows all keys, in the order of the reference page. */
void beam_config_each(beam_config_reader see, void *context);

/* For completion by shells: a line per key, its name, and after a space the values it takes if these are
 * words.
 */
void beam_config_words(FILE *to);

/* The version of the YAML library. */
const char *beam_config_yaml_version(void);

#endif
