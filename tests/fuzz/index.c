/* Any bytes as the index of a model's shards: it is refused, or every tensor is in the shard that it says. */
#include <string.h>

#include "data/safetensors.h"
#include "fuzz/fuzz.h"

static const char *const shard[] = {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                                    "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}"};

void fuzz_seeds(fuzz_taker take, void *context)
{
    fuzz_seed_text(
        take, context,
        "{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}");
    fuzz_seed_text(take, context, "{\"weight_map\":{\"a\":\"1.safetensors\"}}");
    fuzz_seed_text(take, context, "{\"weight_map\":{\"b\":\"../x.safetensors\"}}");
}

static void write_shards(void)
{
    static const char *const name[] = {"1.safetensors", "2.safetensors"};
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[128] = {(uint8_t)strlen(shard[i])};
        memcpy(bytes + 8, shard[i], strlen(shard[i]));
        fuzz_file(name[i], bytes, 8 + strlen(shard[i]) + 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static bool ready;
    beam_weights *w;
    if (!ready)
        write_shards();
    ready = true;
    fuzz_file("model.safetensors.index.json", bytes, size);
    if (beam_weights_open(fuzz_folder(), &w) != BEAM_OK)
        return 0;
    for (int64_t i = 0; i < beam_weights_count(w); i++) {
        const beam_weight *t = beam_weights_at(w, i);
        const char *file = strrchr(beam_weights_file(w, t), '/');
        BEAM_ASSERT(file &&
                    strcmp(file, strcmp(t->name, "a") == 0 ? "/1.safetensors" : "/2.safetensors") == 0);
        BEAM_ASSERT(t->bytes == 4);
    }
    beam_weights_close(w);
    return 0;
}
