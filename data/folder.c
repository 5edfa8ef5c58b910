/* The folder half of data/file.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "data/file.h"

beam_status beam_make_folder(const char *path)
{
    char part[1024];
    const size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return BEAM_FAIL(BEAM_EIO, "'%.200s': not a usable folder name (1 to %zu bytes)", path,
                         sizeof part - 1);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        const bool made = mkdir(part, 0777) == 0;
        if (!made && errno != EEXIST)
            return BEAM_FAIL(BEAM_EIO, "%s: cannot create this folder: %s", part, strerror(errno));
        if (made)
            BEAM_TRY(beam_sync_folder_of(part));
        part[i] = path[i];
    }
    if (!beam_folder_exists(path))
        return BEAM_FAIL(BEAM_EIO, "%s: exists but is not a folder", path);
    return BEAM_OK;
}

/* Empties the folder `fd` (which it closes). Returns 0 or errno. Links are removed, never followed. */
static int empty_folder(int fd, int depth)
{
    enum { MAX_DEPTH = 64 };
    DIR *dir = depth < MAX_DEPTH ? fdopendir(fd) : NULL;
    if (!dir) {
        const int error = depth < MAX_DEPTH ? errno : ELOOP;
        close(fd);
        return error;
    }
    int error = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            error = errno;
            break;
        }
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        const int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inner >= 0)
            error = empty_folder(inner, depth + 1);
        if (error == 0 && unlinkat(fd, name, inner >= 0 ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
            error = errno;
        if (error != 0)
            break;
    }
    closedir(dir);
    return error;
}

beam_status beam_remove_folder(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return BEAM_OK;
    if (fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot remove this folder: %s", path, strerror(errno));
    int error = empty_folder(fd, 0);
    if (error == 0 && rmdir(path) != 0)
        error = errno;
    if (error != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot remove this folder: %s", path, strerror(error));
    return BEAM_OK;
}

beam_status beam_sync_folder(const char *path)
{
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot open this folder: %s", path, strerror(errno));
    const bool synced = fsync(fd) == 0;
    const int error = errno;
    close(fd);
    /* EINVAL: a file system that cannot synchronise folders, which is no failure of this write. */
    if (!synced && error != EINVAL)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot synchronise this folder: %s", path, strerror(error));
    return BEAM_OK;
}

beam_status beam_need_space(const char *path, uint64_t bytes)
{
    struct statvfs info;
    if (statvfs(path, &info) != 0)
        return BEAM_FAIL(BEAM_EIO, "%s: cannot ask for the free space: %s", path, strerror(errno));
    const double available = (double)info.f_bavail * (double)info.f_frsize; /* exact far beyond any disk */
    if (available < (double)bytes)
        return BEAM_FAIL(BEAM_EIO,
                         "%s: %.1f MB are needed, but only %.1f MB are free; free some space or "
                         "choose another folder",
                         path, (double)bytes / 1e6, available / 1e6);
    return BEAM_OK;
}

bool beam_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool beam_folder_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool beam_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool beam_path_ends(const char *path, const char *end)
{
    const size_t n = strlen(path), k = strlen(end);
    return n >= k && strcmp(path + n - k, end) == 0;
}
