/* Preloaded into a program, makes the wall clock jump back and forth by a day at every look: NTP's step, a
 * suspended machine, a wrong clock at boot. The monotonic clock is left alone, as the kernel does.
 *
 *     cc -shared -fPIC clock_jumps.c -o clock_jumps.so && LD_PRELOAD=./clock_jumps.so beam train run.yaml */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { DAY = 24 * 60 * 60 };

static time_t jump(void)
{
    static int looks;
    return ++looks % 2 ? DAY : -DAY;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    const long failed = syscall(SYS_clock_gettime, clock, t);
    if (!failed && clock == CLOCK_REALTIME)
        t->tv_sec += jump();
    return (int)failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    const int failed = clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}
