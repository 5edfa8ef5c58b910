/* Any bytes as a checkpoint's manifest. What is a JSON object is signed first: the hash of its content is no
 * defence against whoever can compute one. Refused, or what was read writes back to the same. */
#include <stdlib.h>
#include <string.h>

#include "data/json.h"
#include "data/manifest.h"
#include "fuzz/fuzz.h"

void fuzz_seeds(fuzz_taker take, void *context)
{
    beam_manifest m = {.state = {.step = 500, .penalty = 0.25, .average_active = -1, .model = "base"}};
    char *text;
    size_t size;
    for (int i = 0; i < BEAM_CHECKPOINT_FILES; i++) {
        m.file[i].size = 1000;
        beam_sha256("", 0, m.file[i].sha256);
    }
    BEAM_ASSERT(beam_manifest_write(fuzz_folder(), &m) == BEAM_OK);
    char path[1024];
    BEAM_ASSERT(beam_join_path(path, sizeof path, fuzz_folder(), "manifest.json") == BEAM_OK);
    BEAM_ASSERT(beam_file_read(path, 1 << 16, &text, &size) == BEAM_OK);
    take(context, text, size);
    free(text);
    fuzz_seed_text(take, context, "{\"format\":\"beam checkpoint\",\"version\":1,\"state\":{},\"files\":{}}");
}

/* The object with the SHA-256 of all else in it; NULL if the bytes are none. */
static char *sign(const uint8_t *bytes, size_t size)
{
    char hex[BEAM_SHA256_HEX];
    json_t *root;
    if (beam_json_parse("fuzz", (const char *)bytes, size, BEAM_EMODEL, &root) != BEAM_OK)
        return NULL;
    json_object_del(root, "sha256");
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    BEAM_ASSERT(text);
    beam_sha256(text, strlen(text), hex);
    free(text);
    json_object_set_new(root, "sha256", json_string(hex));
    text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static void read_back(const beam_manifest *m)
{
    beam_manifest again;
    BEAM_ASSERT(m->state.step >= 0 && m->state.rows >= 0 && m->state.tokens >= 0);
    BEAM_ASSERT(beam_manifest_write(fuzz_folder(), m) == BEAM_OK);
    BEAM_ASSERT(beam_manifest_read(fuzz_folder(), &again) == BEAM_OK);
    BEAM_ASSERT(memcmp(&m->state, &again.state, sizeof again.state) == 0);
    BEAM_ASSERT(memcmp(m->file, again.file, sizeof again.file) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    beam_manifest m;
    char *text = sign(bytes, size);
    fuzz_file("manifest.json", text ? text : (const char *)bytes, text ? strlen(text) : size);
    free(text);
    if (beam_manifest_read(fuzz_folder(), &m) == BEAM_OK)
        read_back(&m);
    return 0;
}
