/* Any bytes as a safetensors file: it is refused, or every tensor lies inside the data and they cover it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/safetensors_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint64_t length, covered = 0;
    beam_weight_list list = {0};
    if (size < 8)
        return 0;
    memcpy(&length, bytes, sizeof length);
    length %= size - 8 + 1; /* always inside the file, so that most inputs reach the parser */
    const uint64_t start = 8 + length, payload = size - start;
    if (beam_safetensors_parse_header("fuzz", (const char *)bytes + 8, (size_t)length, start, payload, 0,
                                      &list) == BEAM_OK) {
        for (int64_t i = 0; i < list.n; i++) {
            const beam_weight *t = &list.at[i];
            BEAM_ASSERT(t->offset >= start && t->offset + t->bytes <= size);
            BEAM_ASSERT(beam_bytes(beam_view(NULL, t->dtype, t->ndim, t->dim)) == t->bytes);
            covered += t->bytes;
        }
        BEAM_ASSERT(covered == payload);
    }
    beam_weight_list_free(&list);
    return 0;
}
