/* The files of an exported Hugging Face folder that are not tensors. */
#ifndef BEAM_DATA_HF_EXPORT_H
#define BEAM_DATA_HF_EXPORT_H

#include "core/status.h"
#include "core/tensor.h"
#include "data/model_config.h"

/* What config.json says of the exported masks. */
typedef struct {
    const char *architecture; /* of the base: "Qwen3MoeForCausalLM" */
    const char *model_type;   /* of the base: "qwen3_moe" */
    bool plain_type;          /* masked models keep that model_type, without BEAM_MASKED_TYPE in front */
    beam_mask_config mask;    /* present = false: a plain base model */
    beam_dtype mask_dtype;    /* of the mask_gate tensors */
    beam_dtype dtype;         /* of the other tensors */
    int64_t top_k;            /* candidates per token; 0: as in the base */
    int64_t masked_layers;
    double avg_active; /* measured mean of kept experts; NaN: not known */
} beam_hf_export;

/* The Python file of an exported folder, to whose classes auto_map points. */
#define BEAM_HF_CODE "modeling_expert_mask"

/* Writes `to`: every field of the base config.json `from` unchanged, with architectures, model_type,
 * num_experts_per_tok, dtype and the expert_mask block (docs/formats.md) set. auto_map names the classes of
 * BEAM_HF_CODE, and is absent without masks: the base's own Python code is not exported. */
beam_status beam_hf_config_write(const char *from, const char *to, const beam_hf_export *e);

/* Copies tokenizer, generation settings, chat template and licence files of `from` that exist, byte for byte.
 * BEAM_EMODEL if one of them is a symbolic link. */
beam_status beam_hf_copy_files(const char *from, const char *to);

#endif
