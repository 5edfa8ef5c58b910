/* The header of one safetensors file: every rule of the format, checked before any byte of data is used. */
#ifndef BEAM_DATA_SAFETENSORS_HEADER_H
#define BEAM_DATA_SAFETENSORS_HEADER_H

#include "data/safetensors.h"

enum {
    BEAM_WEIGHT_NAME_MAX = 159,
    BEAM_MAX_WEIGHTS = 1000000,           /* of a whole model */
    BEAM_SAFETENSORS_HEADER_MAX = 1 << 24 /* bytes; more would be beyond BEAM_JSON_MEMORY */
};

/* The tensors of all shards read so far. Zero-initialise; free with beam_weight_list_free. */
typedef struct {
    beam_weight *at; /* names are owned */
    int64_t n, capacity;
} beam_weight_list;

void beam_weight_list_free(beam_weight_list *list);

/* Reads the header of the open file `fd` and appends its tensors, with file = `file`. BEAM_EMODEL if a rule
 * is broken, BEAM_EIO if it cannot be read. What was appended before a failure is freed with the list. */
beam_status beam_safetensors_read_header(int fd, const char *path, int file, beam_weight_list *list);

/* The same for a header in memory (the JSON of `size` bytes) of a file whose data starts at `start` and has
 * `payload` bytes. */
beam_status beam_safetensors_parse_header(const char *path, const char *json, size_t size, uint64_t start,
                                          uint64_t payload, int file, beam_weight_list *list);

/* pread of exactly `size` bytes; BEAM_EIO if there are fewer. */
beam_status beam_read_at(int fd, const char *path, uint64_t offset, void *bytes, size_t size);

#endif
