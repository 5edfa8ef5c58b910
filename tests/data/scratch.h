/* A temporary folder for one test program, and small files in it. */
#ifndef BEAM_TESTS_DATA_SCRATCH_H
#define BEAM_TESTS_DATA_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

enum { SCRATCH_PATH = 512 };

/* cmocka group fixtures: make and remove the folder. */
int scratch_open(void **state);
int scratch_close(void **state);

/* "folder/name"; valid until scratch_close. */
const char *scratch_path(const char *name);

/* Writes a file of the folder; stops the program if that fails. Returns its path. */
const char *scratch_write(const char *name, const void *bytes, size_t size);
const char *scratch_text(const char *name, const char *text);

/* Reads a whole file into new memory; stops the program if that fails. */
char *scratch_read(const char *path, size_t *size);

/* Number of entries of a folder whose name contains `part` ("" counts all). */
int scratch_count(const char *folder, const char *part);

/* The last error's message contains `part`; prints the message if not. */
bool message_has(const char *part);

#endif
