/* Writing a trained model as a Hugging Face folder, or its masks alone. */
#ifndef BEAM_SERVE_EXPORT_H
#define BEAM_SERVE_EXPORT_H

#include "data/results.h"
#include "model/model.h"
#include "serve/selftest.h"

typedef struct {
    const char *base;      /* the base model's folder; or a config.json, if the base was random */
    const char *base_name; /* what the model card calls it; NULL: `base` */
    const char *run;       /* where the trained parameters came from: for the model card */
    const char *out;       /* folder to make; must not exist, or be empty */
    bool base_trained; /* nothing is copied from the base's tensors; else all but gates and BEAM_TRAINED */
    bool adapter_only; /* masks only */
    bool plain_type;   /* model_type stays the base's (data/hf_export.h) */
    beam_dtype dtype;  /* of trained tensors: f32 (as trained, the default) or bf16 */
    uint64_t shard_bytes;
    double avg_active;       /* for the config and the card; NaN: not measured */
    uint64_t base_hash;      /* identity of the base model, for adapters; 0: not known */
    const int32_t *selftest; /* [selftest_tokens] ids of the self-test, at most the model's max_tokens */
    int64_t selftest_tokens; /* 0: none. Without mask gates there is none either */
    const beam_evaluation
        *eval; /* of the masked model and of its base on the same tokens, for the card; NULL: */
    const beam_evaluation *eval_base; /* not measured */
} beam_export_options;

/* Writes `out` beside its place, reads it back (serve/verify.h) and gives it its name. Tensors that were not
 * trained keep the base's dtype and bytes; trained ones are rounded to options->dtype, in the model too,
 * which then is the exported one: the self-test is its. BEAM_EIO with nothing left behind on failure.
 * *margins: of the self-test; all 0 without it. */
beam_status beam_export(beam_model *m, const beam_export_options *options, beam_mask_margins *margins);

#endif
