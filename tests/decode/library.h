/* The functions of serve/beam_moe.h in a library that is opened as an engine opens it. */
#ifndef BEAM_TESTS_DECODE_LIBRARY_H
#define BEAM_TESTS_DECODE_LIBRARY_H

#include "serve/beam_moe.h"

typedef struct {
    void *handle; /* for dlsym and dlclose */
    int (*check)(const beam_moe *);
    size_t (*workspace)(const beam_moe *, int64_t);
    int (*run)(const beam_moe *, const void *, void *, int64_t, void *, size_t, void *);
    int (*route)(const beam_moe *, const void *, int64_t, const beam_moe_pairs *, void *, size_t, void *);
    int (*experts)(const beam_moe *, const void *, void *, int64_t, const beam_moe_pairs *, void *, size_t,
                   void *);
    int (*pack)(void *, const void *, const void *, int64_t, int64_t, int32_t);
    const char *(*error)(int);
} library;

/* Fail the test that calls them if there is no such library or symbol. `to`: a pointer to a function. */
void library_open(library *l, const char *path);
void library_find(const library *l, const char *name, void *to);

#endif
