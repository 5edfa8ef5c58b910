/* CRC-32C (Castagnoli), the checksum of TensorBoard's records. */
#ifndef BEAM_DATA_CRC32C_H
#define BEAM_DATA_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what `crc` covers (0: nothing yet) followed by these bytes. */
uint32_t beam_crc32c(uint32_t crc, const void *bytes, size_t size);

#endif
