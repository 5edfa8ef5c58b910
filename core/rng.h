/* Counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * 2011). There is no state: the same (seed, stream, index) gives the same number on every rank and after
 * every resume. */
#ifndef BEAM_CORE_RNG_H
#define BEAM_CORE_RNG_H

#include <stdint.h>

/* 64 random bits. `stream` separates uses (a parameter, an epoch); `index` counts within a stream. */
uint64_t beam_random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Uniform in [0, 1), with 53 bits. */
double beam_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* Standard normal (Box-Muller). */
double beam_random_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* The image of `index` under a random permutation of [0, n), computed without a table (a Feistel network with
 * cycle walking). n >= 1, index < n. Different keys give different permutations. */
uint64_t beam_random_permute(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);

/* A stable 64-bit hash of a string (FNV-1a): to derive a stream from a name. */
uint64_t beam_hash_string(const char *s);

#endif
