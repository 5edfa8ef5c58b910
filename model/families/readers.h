/* What the files of this folder share: the description of one family, the keys that all families have, and
 * readers of keys that belong together. Messages name the file and the key. */
#ifndef BEAM_MODEL_FAMILIES_READERS_H
#define BEAM_MODEL_FAMILIES_READERS_H

#include "model/families/keys.h"

enum { BEAM_MOST_EXPERTS = 4096, BEAM_MOST_HEAD_DIM = 1024, BEAM_MOST_POSITIONS = 1 << 24 };

typedef struct {
    beam_family family;
    beam_key_rows keys; /* beside those of all families */
    double rope_theta;  /* without the key */
    bool scaled_scores; /* YaRN's mscale_all_dim also multiplies the scores */
    /* What needs more than one key; the fields of both tables are filled. Dimensions that are still 0
     * afterwards are those of plain grouped-query attention (beam_model_config_complete). */
    beam_status (*finish)(const beam_json_object *o, beam_model_config *c);
} beam_family_source;

const beam_family_source *beam_family_qwen3_moe(void);
const beam_family_source *beam_family_qwen2_moe(void);
const beam_family_source *beam_family_deepseek_v2(void);
const beam_family_source *beam_family_olmoe(void);
const beam_family_source *beam_family_mixtral(void);

/* Keys of all families: sizes that have no default, and what transformers and other tools write into every
 * config.json. */
beam_key_rows beam_common_keys(void);

/* Every layer is a mixture of experts. */
void beam_all_moe(beam_model_config *c);

/* `decoder_sparse_step` and `mlp_only_layers` of the Qwen families, and rows that describe them. */
#define BEAM_QWEN_LAYER_ROWS                                                                                 \
    {.key = "decoder_sparse_step",                                                                           \
     .kind = BEAM_ROW_JOINT,                                                                                 \
     .accepted = "1 to 512; default 1",                                                                      \
     .note = "layer i is a mixture of experts if it divides i + 1"},                                         \
    {                                                                                                        \
        .key = "mlp_only_layers", .kind = BEAM_ROW_JOINT, .accepted = "list of layers; default []",          \
        .note = "these layers are dense"                                                                     \
    }
beam_status beam_read_qwen_layers(const beam_json_object *o, beam_model_config *c);

/* `use_sliding_window` of the Qwen families, with c->window from `sliding_window`, which is left at 0 unless
 * windows are on. */
#define BEAM_QWEN_WINDOW_ROWS                                                                                \
    {.key = "use_sliding_window",                                                                            \
     .kind = BEAM_ROW_JOINT,                                                                                 \
     .accepted = "true or false; default false",                                                             \
     .note = "whether sliding_window counts"},                                                               \
        BEAM_INTEGER("sliding_window", window, 0, BEAM_MOST_POSITIONS, 4096, .flags = BEAM_ROW_NULLABLE,     \
                     .note = "tokens that a windowed layer sees, itself included")
beam_status beam_read_qwen_window(const beam_json_object *o, beam_model_config *c);

/* Settles heads, key/value heads and head_dim of grouped-query attention and checks that they fit; 0 stands
 * for a key that was absent or null. */
beam_status beam_settle_heads(const beam_json_object *o, beam_model_config *c);

/* `eos_token_id`: a token or a list of them. */
beam_status beam_read_eos(const beam_json_object *o, beam_model_config *c);

/* Rotary positions: `rope_theta` and `rope_scaling` of older files, `rope_parameters` of newer ones, which
 * must agree where both are given. *score_factor: by what mscale_all_dim multiplies scores; 1 without it. */
beam_status beam_read_rope(const beam_json_object *o, double theta, beam_model_config *c,
                           double *score_factor);

/* `expert_mask` and `architectures`, which must agree: an engine that reads only one of them would run the
 * model without its masks. */
beam_status beam_read_mask(const beam_json_object *o, const char *architecture, beam_model_config *c);

#endif
