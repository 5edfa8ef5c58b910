/* Any bytes as a safetensors file: it is refused, or every tensor lies inside the data and they cover it. */
#include <string.h>

#include "data/safetensors_header.h"
#include "fuzz/fuzz.h"

void fuzz_seeds(fuzz_taker take, void *context)
{
    static const struct {
        const char *header;
        size_t payload;
    } seeds[] = {
        {"{}", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4},
        {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":["
         "0,12]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[12,13]}}   ",
         13},
        {"{\"e\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[8,8]},\"a\":{\"dtype\":\"F64\","
         "\"shape\":[1],"
         "\"data_offsets\":[0,8]}}",
         8},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        uint8_t file[512] = {0};
        const uint64_t length = strlen(seeds[i].header);
        memcpy(file, &length, 8);
        memcpy(file + 8, seeds[i].header, length);
        take(context, file, 8 + length + seeds[i].payload);
    }
}

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
