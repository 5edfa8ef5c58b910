/* "Did you mean": how far a mistyped word is from a known one. */
#ifndef BEAM_TRAIN_NEAREST_H
#define BEAM_TRAIN_NEAREST_H

#include <stdbool.h>

/* The number of characters to insert, delete, replace or swap with their neighbour to turn a into b
 * (restricted Damerau-Levenshtein). Words of 64 characters or more count as infinitely far: INT_MAX. */
int beam_word_distance(const char *a, const char *b);

/* Whether a word at this distance is close enough to be suggested: about a third of it may be wrong. */
bool beam_word_is_near(int distance, const char *word);

#endif
