#include "serve/hf_code.h"

#include "data/file.h"
#include "data/hf_export.h"

static const unsigned char code[] = {
#include "serve/modeling_expert_mask.inc"
};

beam_status beam_hf_code_write(const char *folder)
{
    char path[1200];
    BEAM_TRY(beam_join_path(path, sizeof path, folder, BEAM_HF_CODE ".py"));
    return beam_file_write(path, code, sizeof code);
}
