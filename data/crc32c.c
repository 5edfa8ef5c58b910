#include "data/crc32c.h"

/* Bit by bit: a step's metrics are a few kB, which is not worth a table. */
uint32_t beam_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    const uint32_t polynomial = 0x82f63b78u; /* reflected: the lowest bit is the first */
    const unsigned char *at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
    }
    return ~crc;
}
