/* Any bytes as a config.json: it is refused, or its numbers fit together and its rotations are finite. */
#include <math.h>
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "model/families/families.h"
#include "model/rope.h"

void fuzz_seeds(fuzz_taker take, void *context)
{
    fuzz_seed_files(take, context, FUZZ_SOURCES "/tests/fixtures/configs", ".json");
    fuzz_seed_files(take, context, FUZZ_SOURCES "/configs", ".json");
    fuzz_seed_files(take, context, FUZZ_SOURCES "/tests/fixtures/families/deepseek_v2_groups", "config.json");
    fuzz_seed_files(take, context, FUZZ_SOURCES "/tests/fixtures/families/qwen2_moe_window", "config.json");
}

static void check(const beam_model_config *c)
{
    BEAM_ASSERT(c->layers > 0 && c->layers <= BEAM_MAX_LAYERS && beam_moe_layers(c) > 0);
    BEAM_ASSERT(c->heads > 0 && c->kv_heads > 0 && c->heads % c->kv_heads == 0);
    BEAM_ASSERT(c->head_dim >= c->rotary_dim && c->rotary_dim > 0 && c->rotary_dim % 2 == 0);
    BEAM_ASSERT(c->value_dim > 0 && c->kv_rank >= 0 && c->query_rank >= 0);
    BEAM_ASSERT(c->top_k > 0 && c->top_k <= c->kept_groups * (c->experts / c->expert_groups));
    BEAM_ASSERT(c->moe_intermediate_size > 0 && c->shared_size >= 0);
    BEAM_ASSERT(isfinite(c->score_scale) && c->score_scale > 0 && isfinite(c->rope.amplitude));
    for (int64_t i = 0; i < c->layers; i++)
        BEAM_ASSERT(!c->windowed[i] || c->window > 0);
}

static void check_rotations(const beam_model_config *c)
{
    const int64_t half = c->rotary_dim / 2;
    float *table = malloc((size_t)(4 * half) * sizeof *table);
    BEAM_ASSERT(table);
    beam_rope_table(beam_view(table, BEAM_F32, BEAM_DIMS(2, half)),
                    beam_view(table + 2 * half, BEAM_F32, BEAM_DIMS(2, half)), &c->rope);
    for (int64_t i = 0; i < 4 * half; i++)
        BEAM_ASSERT(isfinite(table[i]));
    free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    beam_model_config c;
    if (beam_model_config_read(fuzz_file("config.json", bytes, size), &c) == BEAM_OK) {
        check(&c);
        check_rotations(&c);
    }
    return 0;
}
