/* Any bytes as a run's configuration: it is refused, or it reads back from its own dump as the same. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "train/config.h"

void fuzz_seeds(fuzz_taker take, void *context)
{
    fuzz_seed_files(take, context, FUZZ_SOURCES "/configs", ".yaml");
    fuzz_seed_text(take, context,
                   "model_name_or_path: m\ndataset: d.h5\nmask:\n  mode: 'off'\ntrainable: all\n");
    fuzz_seed_text(take, context, "{model_name_or_path: \"m\\x41\", dataset: d, mask: {protect: 1:2 3:4}}\n");
    fuzz_seed_text(take, context,
                   "--- # comment\n? seed\n: 7\nmodel_name_or_path: >-\n  folded\n  text\n...\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    beam_config c, again;
    char **origins, *text;
    setenv("BEAM_LOG", "error", 1); /* no line per alias of a key */
    if (beam_config_load(fuzz_file("run.yaml", bytes, size), NULL, 0, &c, &origins) != BEAM_OK)
        return 0;
    BEAM_ASSERT(beam_config_text(&c, origins, &text) == BEAM_OK);
    beam_config_free_origins(origins);
    BEAM_ASSERT(beam_config_load(fuzz_file("dump.yaml", text, strlen(text)), NULL, 0, &again, NULL) ==
                BEAM_OK);
    BEAM_ASSERT(beam_config_hash(&c, 1) == beam_config_hash(&again, 1));
    free(text);
    return 0;
}
