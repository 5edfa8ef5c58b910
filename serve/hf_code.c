#include "serve/hf_code.h"

#include "core/embedded.h"
#include "data/file.h"
#include "data/hf_export.h"

extern const beam_embedded beam_hf_code[]; /* serve/hf/modeling_expert_mask.py */

beam_status beam_hf_code_write(const char *folder)
{
    char path[1200];
    BEAM_TRY(beam_join_path(path, sizeof path, folder, BEAM_HF_CODE ".py"));
    return beam_file_write(path, beam_hf_code[0].bytes, beam_hf_code[0].size);
}
