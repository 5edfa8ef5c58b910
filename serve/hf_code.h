/* serve/hf/modeling_expert_mask.py, which runs masked models in Hugging Face transformers: part of the
 * program, so that every exported folder has it. */
#ifndef BEAM_SERVE_HF_CODE_H
#define BEAM_SERVE_HF_CODE_H

#include "core/status.h"

/* Writes modeling_expert_mask.py into the folder. */
beam_status beam_hf_code_write(const char *folder);

#endif
