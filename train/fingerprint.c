/* Which base model this is, by a hash of its numbers, and whether an adapter belongs to it. */
#include <string.h>

#include "core/bf16.h"
#include "core/log.h"
#include "core/rng.h"
#include "data/file.h"
#include "model/load.h"
#include "train/source.h"

/* Base parameters of a whole model, or of a list that this process holds alone. */
typedef struct {
    beam_model *model; /* NULL: a list */
    beam_params params;
    beam_backend *be;
} base_reader;

static int64_t numbers(const base_reader *r, const beam_param *p)
{
    return r->model ? beam_model_numbers(r->model, p) : beam_count(p->value);
}

static beam_status read_numbers(const base_reader *r, const beam_param *p, int64_t first, int64_t n,
                                float *out)
{
    if (r->model)
        return beam_model_read(r->model, p, first, n, out);
    const beam_tensor flat = beam_reshape(p->value, BEAM_DIMS(beam_count(p->value)));
    return beam_tensor_get_f32(r->be, beam_rows(flat, first, n), out);
}

/* Mixes a sample of one parameter's values, spread over all of it, into the hash: rounded to bfloat16, so
 * that a base model is the same whether it is held in that type or in float32. */
static beam_status mix_values(const base_reader *r, const beam_param *p, uint64_t *hash)
{
    enum { PIECES = 8, PIECE = 16 };
    const int64_t n = numbers(r, p), piece = n < PIECE ? n : PIECE;
    for (int64_t i = 0; i < PIECES; i++) {
        float values[PIECE] = {0};
        BEAM_TRY(read_numbers(r, p, (n - piece) * i / (PIECES - 1), piece, values));
        for (int64_t j = 0; j < piece; j++) {
            const float rounded = beam_bf16_to_f32(beam_f32_to_bf16(values[j]));
            uint32_t bits;
            memcpy(&bits, &rounded, sizeof bits);
            *hash = beam_random_bits(*hash, bits, (uint64_t)j);
        }
    }
    return BEAM_OK;
}

static beam_status fingerprint(const base_reader *r, uint64_t *out)
{
    uint64_t hash = 0;
    for (int i = 0; i < r->params.n; i++) {
        const beam_param *p = &r->params.at[i];
        if (p->flags & BEAM_MASK_GATE)
            continue;
        hash = beam_random_bits(hash, beam_hash_string(p->name), (uint64_t)numbers(r, p));
        BEAM_TRY(mix_values(r, p, &hash));
    }
    *out = hash;
    return BEAM_OK;
}

beam_status beam_model_source_fingerprint(beam_model *m, uint64_t *out)
{
    return fingerprint(&(base_reader){.model = m, .params = beam_model_params(m)}, out);
}

beam_status beam_adapter_path(const char *adapter, char *path, size_t size)
{
    BEAM_TRY(beam_join_path(path, size, adapter, "expert_mask.safetensors"));
    return beam_file_exists(path) ? BEAM_OK
                                  : BEAM_FAIL(BEAM_EMODEL,
                                              "%s: no such file; --adapter wants the folder that beam export "
                                              "--adapter-only wrote",
                                              path);
}

beam_status beam_adapter_check(const char *adapter, const char *base, const beam_model_config *c,
                               beam_params params, beam_backend *be)
{
    uint64_t found;
    if (!c->mask.base_hash) {
        beam_warn("%s does not say which base model it belongs to; it fits the shape of %s", adapter, base);
        return BEAM_OK;
    }
    BEAM_TRY(fingerprint(&(base_reader){.params = params, .be = be}, &found));
    if (found == c->mask.base_hash)
        return BEAM_OK;
    return BEAM_FAIL(
        BEAM_EMODEL,
        "--adapter %s: was trained on another base model than %s, whose numbers differ; give the one that "
        "it belongs to",
        adapter, base);
}
