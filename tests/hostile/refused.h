/* Runs the real program on a hostile file, in a process of its own with limits on memory and time, and judges
 * what a user would see of it. The program is $BEAM_PROGRAM. */
#ifndef BEAM_TESTS_HOSTILE_REFUSED_H
#define BEAM_TESTS_HOSTILE_REFUSED_H

#include <stddef.h>
#include <stdint.h>

enum { REFUSED_WORDS = 16 };

/* Asserts that `beam WORDS...` (the last one is followed by NULL) ends with `code`, says `name` (of the file)
 * and `message`, prints no control characters, and takes less than a second of processor time and 256 MB (not
 * measured under sanitizers, which need more of both). code 0: it accepts the file, and prints `message`. */
void expect_exit(int code, const char *name, const char *message, const char *word, ...)
    __attribute__((sentinel));

/* One more variable of the environment of all later runs. */
void set_environment(const char *name, const char *value);

/* Prints how many files were tried, and the most that any took. For the end of a test program. */
void print_worst(void);

/* `times` copies of `part` between `head` and `tail`, in new memory (the caller frees it). */
char *repeat(const char *head, const char *part, size_t times, const char *tail);

/* A file of the scratch folder that claims `size` bytes, all zero, and takes none on the disk; its path. */
const char *write_sparse(const char *name, uint64_t size);

#endif
