/* A fuzz target: any bytes as one of the files that beam reads. It is refused with a message, or what was
 * read keeps its promises. libFuzzer drives a target (BEAM_FUZZ), and so does replay.c, with any compiler. */
#ifndef BEAM_TESTS_FUZZ_FUZZ_H
#define BEAM_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Defined by each target: one input. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

typedef void (*fuzz_taker)(void *context, const void *bytes, size_t size);

/* Defined by each target: the inputs to begin with. */
void fuzz_seeds(fuzz_taker take, void *context);

/* The same for what is text. */
void fuzz_seed_text(fuzz_taker take, void *context, const char *text);

/* Every file of a folder of the source tree whose name ends so. */
void fuzz_seed_files(fuzz_taker take, void *context, const char *folder, const char *end);

/* The path of a file with these bytes, of that name in a folder of its own ($TMPDIR, or memory); valid until
 * the next call. */
const char *fuzz_file(const char *name, const void *bytes, size_t size);

/* That folder. */
const char *fuzz_folder(void);

#endif
