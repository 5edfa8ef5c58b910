/* Files, carefully: bounded reads, writes that are complete or absent, SHA-256. */
#ifndef BEAM_DATA_FILE_H
#define BEAM_DATA_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/status.h"

enum { BEAM_SHA256_HEX = 65 }; /* 64 digits and the terminating zero */

/* Reads a whole file of at most `limit` bytes into new memory (the caller frees it), with a zero byte after
 * the end. BEAM_EIO if it cannot be read or is larger. */
beam_status beam_file_read(const char *path, size_t limit, char **bytes, size_t *size);

/* Writes beside `path`, fsyncs, renames over it, fsyncs the folder. BEAM_EIO and no trace on any failure.
 * Refuses to replace what is no regular file: a folder, a pipe, /dev/null. */
beam_status beam_file_write(const char *path, const void *bytes, size_t size);

/* The same for a file written in pieces: open, write as often as needed, then commit or abort (both close
 * it). */
typedef struct {
    char path[1024], temporary[1056];
    int fd;
    uint64_t size;
} beam_file_writer;

beam_status beam_file_writer_open(beam_file_writer *w, const char *path);
beam_status beam_file_writer_put(beam_file_writer *w, const void *bytes, size_t size);
beam_status beam_file_writer_commit(beam_file_writer *w);
void beam_file_writer_abort(beam_file_writer *w);

/* Copies byte for byte, with the guarantees of beam_file_write. */
beam_status beam_file_copy(const char *from, const char *to);

/* Creates the folder and its parents, lastingly; an existing one is fine. */
beam_status beam_make_folder(const char *path);

/* The same for the folder that a file of this path stands in. */
beam_status beam_make_folder_of(const char *path);

/* Removes a folder and what is in it. Never follows symbolic links. */
beam_status beam_remove_folder(const char *path);

/* fsync of a folder, so that renames in it last; and of the folder that something of this path stands in. */
beam_status beam_sync_folder(const char *path);
beam_status beam_sync_folder_of(const char *path);

/* BEAM_EIO unless the file system of `path` (an existing folder) has `bytes` free. The message gives both
 * numbers. */
beam_status beam_need_space(const char *path, uint64_t bytes);

bool beam_file_exists(const char *path);
bool beam_folder_exists(const char *path);

/* Whether both are there and are one file, under whatever names. */
bool beam_same_file(const char *a, const char *b);

/* Whether the path ends so: for kinds that are told by the name (".h5"). */
bool beam_path_ends(const char *path, const char *end);

/* snprintf of "folder/name" into path[size]; BEAM_EIO if it does not fit. */
beam_status beam_join_path(char *path, size_t size, const char *folder, const char *name);

/* SHA-256 as lower-case hex. */
void beam_sha256(const void *bytes, size_t size, char hex[BEAM_SHA256_HEX]);
beam_status beam_sha256_file(const char *path, char hex[BEAM_SHA256_HEX]);

/* The first 64 bits of a SHA-256, for comparing identities. */
uint64_t beam_sha256_short(const char hex[BEAM_SHA256_HEX]);

#endif
