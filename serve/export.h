/* Writing a trained model as a Hugging Face folder, or its masks alone. */
#ifndef BEAM_SERVE_EXPORT_H
#define BEAM_SERVE_EXPORT_H

#include "model/model.h"

typedef struct {
    const char *base;  /* the base model's folder; or a config.json, if the base was random */
    const char *run;   /* where the trained parameters came from: for the model card */
    const char *out;   /* folder to make; must not exist, or be empty */
    bool base_trained; /* nothing is copied from the base's tensors; else all but gates and BEAM_TRAINED */
    bool adapter_only; /* masks only */
    beam_dtype dtype;  /* of trained tensors: f32 (as trained, the default) or bf16 */
    uint64_t shard_bytes;
    double avg_active; /* for the config and the card; NaN: not measured */
} beam_export_options;

/* Writes `out` beside its place, reads it back (serve/verify.h) and gives it its name. Tensors that were not
 * trained keep the base's dtype and bytes; trained ones are rounded to options->dtype only. BEAM_EIO with
 * nothing left behind on failure. */
beam_status beam_export(beam_model *m, const beam_export_options *options);

#endif
