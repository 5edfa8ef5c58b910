#include "data/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/status.h"
#include "data/crc32c.h"

/* Key bytes of protobuf fields: number << 3 | kind of encoding. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum {
    EVENT_WALL_TIME = 1 << 3 | FIXED64,
    EVENT_STEP = 2 << 3 | VARINT,
    EVENT_FILE_VERSION = 3 << 3 | BYTES,
    EVENT_SUMMARY = 5 << 3 | BYTES,
    EVENT_SESSION_LOG = 7 << 3 | BYTES,
    SUMMARY_VALUE = 1 << 3 | BYTES,
    VALUE_TAG = 1 << 3 | BYTES,
    VALUE_SIMPLE = 2 << 3 | FIXED32,
    SESSION_STATUS = 1 << 3 | VARINT,
    SESSION_START = 1,
};

static unsigned char *put_fixed(unsigned char *p, uint64_t bits, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *p++ = (unsigned char)(bits >> 8 * i);
    return p;
}

static unsigned char *put_varint(unsigned char *p, uint64_t v)
{
    for (; v > 127; v >>= 7)
        *p++ = (unsigned char)(v | 128);
    *p++ = (unsigned char)v;
    return p;
}

/* Checksums of data that holds checksums degenerate, so the format stores them rotated and shifted. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* A record whose bytes are these two pieces. Errors stick to the file. */
static void put_record(FILE *f, const unsigned char *head, size_t n, const unsigned char *body, size_t size)
{
    unsigned char frame[12], end[4];
    put_fixed(frame, n + size, 8);
    put_fixed(frame + 8, masked(beam_crc32c(0, frame, 8)), 4);
    put_fixed(end, masked(beam_crc32c(beam_crc32c(0, head, n), body, size)), 4);
    fwrite(frame, 1, sizeof frame, f);
    fwrite(head, 1, n, f);
    fwrite(body, 1, size, f);
    fwrite(end, 1, sizeof end, f);
}

/* An event of now: its time and step, then the field `key` with these bytes. */
static void put_event(FILE *f, int64_t step, unsigned char key, const void *content, size_t size)
{
    unsigned char head[32], *p = head;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    *p++ = EVENT_WALL_TIME;
    p = put_fixed(p, bits, 8);
    *p++ = EVENT_STEP;
    p = put_varint(p, (uint64_t)step);
    *p++ = key;
    p = put_varint(p, size);
    put_record(f, head, (size_t)(p - head), content, size);
}

/* The record of what waits. */
static void put_waiting(beam_tensorboard *w)
{
    if (w->size > 0)
        put_event(w->file, w->step, EVENT_SUMMARY, w->summary, w->size);
    w->size = 0;
}

/* N distinguishes the starts of one process within a second. -1 with errno set on failure. */
static int create(beam_tensorboard *w, const char *folder)
{
    char host[65] = "";
    const long long now = (long long)time(NULL);
    gethostname(host, sizeof host - 1);
    for (int n = 0;; n++) {
        const int length = snprintf(w->path, sizeof w->path, "%s/events.out.tfevents.%010lld.%s.%ld.%d",
                                    folder, now, host, (long)getpid(), n);
        if (length >= (int)sizeof w->path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        const int fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
}

int beam_tensorboard_open(beam_tensorboard *w, const char *folder, int64_t step)
{
    static const char version[] = "brain.Event:2";
    static const unsigned char start[] = {SESSION_STATUS, SESSION_START};
    w->size = 0;
    const int fd = create(w, folder);
    w->file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!w->file) {
        const int error = errno;
        if (fd >= 0)
            close(fd);
        errno = error;
        return -1;
    }
    put_event(w->file, 0, EVENT_FILE_VERSION, version, sizeof version - 1);
    put_event(w->file, step, EVENT_SESSION_LOG, start, sizeof start);
    return beam_tensorboard_flush(w);
}

void beam_tensorboard_add(beam_tensorboard *w, int64_t step, const char *tag, double value)
{
    const size_t n = strlen(tag), inner = 2 + n + 5; /* bytes of the message Value */
    BEAM_ASSERT(n <= BEAM_TENSORBOARD_TAG);
    if (!w->file)
        return;
    if (w->step != step || w->size + 2 + inner > sizeof w->summary)
        put_waiting(w);
    const float rounded = (float)value;
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    unsigned char *p = w->summary + w->size;
    *p++ = SUMMARY_VALUE;
    p = put_varint(p, inner);
    *p++ = VALUE_TAG;
    p = put_varint(p, n);
    memcpy(p, tag, n);
    p += n;
    *p++ = VALUE_SIMPLE;
    p = put_fixed(p, bits, 4);
    w->size = (size_t)(p - w->summary);
    w->step = step;
}

int beam_tensorboard_flush(beam_tensorboard *w)
{
    if (!w->file)
        return 0;
    put_waiting(w);
    if (fflush(w->file) == 0 && !ferror(w->file))
        return 0;
    const int error = errno;
    beam_tensorboard_close(w);
    errno = error;
    return -1;
}

void beam_tensorboard_close(beam_tensorboard *w)
{
    w->size = 0;
    if (w->file)
        fclose(w->file);
    w->file = NULL;
}
