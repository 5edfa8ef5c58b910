#include "data/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux moves at most 2 GiB per call anyway. */
enum { PIECE = 1 << 30, COPY_BUFFER = 1 << 20 };

/* A regular file only: a pipe or a device in a model folder could block or never end. */
static beam_status open_regular(const char *path, int *fd, uint64_t *size)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open: %s", path, strerror(errno));
    struct stat info;
    beam_status s = BEAM_OK;
    if (fstat(*fd, &info) != 0)
        s = BEAM_FAIL(BEAM_EIO, "%s: cannot read its size: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        s = BEAM_FAIL(BEAM_EIO, "%s: not a regular file", path);
    else
        *size = (uint64_t)info.st_size;
    if (s != BEAM_OK)
        close(*fd);
    return s;
}

/* Up to `size` bytes; fewer only at the end of the file. -1 with errno set on failure. */
static ssize_t read_fully(int fd, char *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const size_t piece = size - done < PIECE ? size - done : PIECE;
        const ssize_t n = read(fd, bytes + done, piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

beam_status beam_file_read(const char *path, size_t limit, char **bytes, size_t *size)
{
    int fd;
    uint64_t length;
    char *buffer = NULL;
    beam_status s = BEAM_OK;
    *bytes = NULL;
    *size = 0;
    BEAM_TRY(open_regular(path, &fd, &length));
    if (length > limit) {
        s = BEAM_FAIL(BEAM_EIO, "%s: has %llu bytes; at most %llu are accepted here", path,
                      (unsigned long long)length, (unsigned long long)limit);
        goto done;
    }
    buffer = malloc((size_t)length + 1);
    if (!buffer) {
        s = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory for its %llu bytes", path, (unsigned long long)length);
        goto done;
    }
    /* One byte more than expected, to notice a file that grows meanwhile. */
    const ssize_t n = read_fully(fd, buffer, (size_t)length + 1);
    if (n < 0)
        s = BEAM_FAIL(BEAM_EIO, "%s: cannot read: %s", path, strerror(errno));
    else if ((uint64_t)n != length)
        s = BEAM_FAIL(BEAM_EIO, "%s: changed its size while it was read; is it still being written?", path);
    if (s != BEAM_OK)
        goto done;
    buffer[length] = '\0';
    *bytes = buffer;
    *size = (size_t)length;
    buffer = NULL;
done:
    free(buffer);
    close(fd);
    return s;
}

beam_status beam_file_writer_open(beam_file_writer *w, const char *path)
{
    enum { TRIES = 100 }; /* leftovers of a killed process that had the same id */
    w->fd = -1;
    w->size = 0;
    struct stat info;
    if ((size_t)snprintf(w->path, sizeof w->path, "%s", path) >= sizeof w->path)
        return BEAM_FAIL(BEAM_EIO, "%.200s...: the path is longer than %zu bytes", path, sizeof w->path - 1);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* root could rename over /dev/null */
        return BEAM_FAIL(BEAM_EIO, "%s: exists and is not a regular file; choose another name", path);
    for (int i = 0; i < TRIES && w->fd < 0; i++) {
        snprintf(w->temporary, sizeof w->temporary, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        w->fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (w->fd < 0 && errno != EEXIST)
            break;
    }
    if (w->fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot create: %s", w->temporary, strerror(errno));
    return BEAM_OK;
}

beam_status beam_file_writer_put(beam_file_writer *w, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        const ssize_t n = write(w->fd, at, size < PIECE ? size : PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot write after %llu bytes: %s", w->path,
                             (unsigned long long)w->size, strerror(n < 0 ? errno : ENOSPC));
        at += n;
        size -= (size_t)n;
        w->size += (uint64_t)n;
    }
    return BEAM_OK;
}

static void folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(folder, size, ".");
    else
        snprintf(folder, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

beam_status beam_make_folder_of(const char *path)
{
    char folder[1024]; /* of a longer path the file itself is refused later */
    folder_of(path, folder, sizeof folder);
    return beam_make_folder(folder);
}

beam_status beam_sync_folder_of(const char *path)
{
    char folder[1024];
    folder_of(path, folder, sizeof folder);
    return beam_sync_folder(folder);
}

beam_status beam_file_writer_commit(beam_file_writer *w)
{
    const bool synced = fsync(w->fd) == 0;
    const int sync_error = errno;
    const bool closed = close(w->fd) == 0; /* network file systems report a full disk here */
    const int close_error = errno;
    w->fd = -1;
    if (!synced || !closed) {
        unlink(w->temporary);
        return BEAM_FAIL(BEAM_EIO, "%s: cannot write: %s", w->path,
                         strerror(synced ? close_error : sync_error));
    }
    if (rename(w->temporary, w->path) != 0) {
        const int error = errno;
        unlink(w->temporary);
        return BEAM_FAIL(BEAM_EIO, "%s: cannot rename the finished file to this name: %s", w->path,
                         strerror(error));
    }
    return beam_sync_folder_of(w->path);
}

void beam_file_writer_abort(beam_file_writer *w)
{
    if (w->fd < 0)
        return;
    close(w->fd);
    unlink(w->temporary);
    w->fd = -1;
}

beam_status beam_file_write(const char *path, const void *bytes, size_t size)
{
    beam_file_writer w;
    BEAM_TRY(beam_file_writer_open(&w, path));
    const beam_status s = beam_file_writer_put(&w, bytes, size);
    if (s != BEAM_OK) {
        beam_file_writer_abort(&w);
        return s;
    }
    BEAM_TRY(beam_file_writer_commit(&w));
    return BEAM_OK;
}

/* Everything that is left to read, into the writer. */
static beam_status pour(int fd, const char *from, beam_file_writer *w, char *buffer)
{
    for (;;) {
        const ssize_t n = read_fully(fd, buffer, COPY_BUFFER);
        if (n < 0)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot read: %s", from, strerror(errno));
        if (n == 0)
            return BEAM_OK;
        BEAM_TRY(beam_file_writer_put(w, buffer, (size_t)n));
    }
}

beam_status beam_file_copy(const char *from, const char *to)
{
    int fd;
    uint64_t size;
    beam_file_writer w = {.fd = -1};
    beam_status s;
    BEAM_TRY(open_regular(from, &fd, &size));
    char *buffer = malloc(COPY_BUFFER);
    if (!buffer) {
        s = BEAM_FAIL(BEAM_ENOMEM, "%s: no memory to copy it", from);
        goto done;
    }
    s = beam_file_writer_open(&w, to);
    if (s == BEAM_OK)
        s = pour(fd, from, &w, buffer);
    if (s == BEAM_OK && w.size != size)
        s = BEAM_FAIL(BEAM_EIO, "%s: changed its size while it was copied", from);
    if (s == BEAM_OK)
        s = beam_file_writer_commit(&w);
    else
        beam_file_writer_abort(&w);
done:
    free(buffer);
    close(fd);
    return s;
}

beam_status beam_join_path(char *path, size_t size, const char *folder, const char *name)
{
    const size_t n = strlen(folder);
    const char *between = n > 0 && folder[n - 1] != '/' ? "/" : "";
    if ((size_t)snprintf(path, size, "%s%s%s", folder, between, name) >= size)
        return BEAM_FAIL(BEAM_EIO, "%.200s.../%.200s: the path is longer than %zu bytes", folder, name,
                         size - 1);
    return BEAM_OK;
}
