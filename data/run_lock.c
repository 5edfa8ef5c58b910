/* The lock of a run's folder: flock on a file in it. The kernel releases it when the process ends, however it
 * ends; the content only serves the message. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "data/checkpoint.h"
#include "data/file.h"

/* "process 123 on node7", as the holder wrote it. */
static beam_status held(int fd, const char *out_dir)
{
    char holder[128];
    const ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return BEAM_FAIL(BEAM_EIO,
                     "%s: %s works in this folder already; wait for it or choose another output_dir", out_dir,
                     holder[0] ? holder : "another process");
}

static beam_status sign(int fd, const char *path)
{
    char host[64] = "", text[128];
    gethostname(host, sizeof host - 1);
    const int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot write: %s", path, strerror(errno));
    return BEAM_OK;
}

beam_status beam_run_lock(const char *out_dir, int *fd)
{
    char path[1024];
    *fd = -1;
    BEAM_TRY(beam_make_folder(out_dir));
    BEAM_TRY(beam_join_path(path, sizeof path, out_dir, ".lock"));
    const int file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open the lock of this folder: %s", path, strerror(errno));
    beam_status s;
    if (flock(file, LOCK_EX | LOCK_NB) == 0)
        s = sign(file, path);
    else if (errno == EWOULDBLOCK)
        s = held(file, out_dir);
    else
        s = BEAM_FAIL(BEAM_EIO, "%s: cannot lock: %s", path, strerror(errno));
    if (s == BEAM_OK)
        *fd = file;
    else
        close(file);
    return s;
}

beam_status beam_run_lock_keep(const char *out_dir, int *fd)
{
    char path[1024];
    struct stat ours, there;
    BEAM_TRY(beam_join_path(path, sizeof path, out_dir, ".lock"));
    if (fstat(*fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
        ours.st_ino == there.st_ino)
        return BEAM_OK;
    beam_warn(
        "%s: this folder or its lock was removed or moved while the run works in it; going on in it anew",
        out_dir);
    beam_run_unlock(*fd);
    return beam_run_lock(out_dir, fd);
}

void beam_run_unlock(int fd)
{
    if (fd >= 0)
        close(fd); /* the file stays: removing it would let two processes lock two files of one name */
}
