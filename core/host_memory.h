/* The memory that this process may use: the machine's, or less where a control group (a container, a batch
 * job) limits it. */
#ifndef BEAM_CORE_HOST_MEMORY_H
#define BEAM_CORE_HOST_MEMORY_H

#include <stdint.h>

typedef struct {
    int64_t total;     /* bytes; 0: unknown, and then so is the rest */
    int64_t available; /* what could be taken now without swapping; file cache counts as free */
    int64_t swap;      /* of the machine; 0 under a control group's limit */
} beam_host_memory;

/* Reads what Linux says in /proc and /sys below `root`, which is "" but in tests. */
void beam_host_memory_look(const char *root, beam_host_memory *out);

/* The most that this process has had resident so far, in bytes. */
int64_t beam_host_memory_peak(void);

#endif
