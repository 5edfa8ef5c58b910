#include "train/survey.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "data/file.h"

int beam_survey_cpus(const char *list, uint64_t cpu[BEAM_SURVEY_CPUS / 64])
{
    int n = 0;
    memset(cpu, 0, BEAM_SURVEY_CPUS / 8);
    while (*list >= '0' && *list <= '9') {
        char *end;
        const long first = strtol(list, &end, 10);
        const long last = *end == '-' ? strtol(end + 1, &end, 10) : first;
        for (long i = first; i <= last && i < BEAM_SURVEY_CPUS; i++, n++)
            cpu[i / 64] |= (uint64_t)1 << (i % 64);
        list = *end == ',' ? end + 1 : end;
    }
    return n;
}

/* The processors that the system lets this process run on. */
static void look_at_cpus(beam_rank_facts *f)
{
    char line[4096], list[sizeof line] = "";
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Cpus_allowed_list: %4095s", list) == 1)
            break;
    if (file)
        fclose(file);
    beam_survey_cpus(list, f->cpu);
    snprintf(f->cpus, sizeof f->cpus, "%.90s%s", list, strlen(list) > 90 ? "..." : "");
}

/* The MPI library that is mapped into this process; an installed header or an mpirun may be another one's. */
static void look_at_mpi(beam_rank_facts *f)
{
    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && !f->mpi[0] && fgets(line, sizeof line, maps)) {
        const char *name = strrchr(line, '/');
        if (name && strncmp(name, "/libmpi", 7) == 0)
            snprintf(f->mpi, sizeof f->mpi, "%.*s", (int)strcspn(name + 1, " \n"), name + 1);
    }
    if (maps)
        fclose(maps);
}

static void look_at_self(const beam_backend *be, beam_rank_facts *f)
{
    char hex[BEAM_SHA256_HEX];
    *f = (beam_rank_facts){.pid = getpid(), .threads = be->threads};
    gethostname(f->host, sizeof f->host - 1);
    snprintf(f->device, sizeof f->device, "%s", be->ops->name);
    look_at_cpus(f);
    look_at_mpi(f);
    if (beam_sha256_file("/proc/self/exe", hex) == BEAM_OK)
        f->program = beam_sha256_short(hex);
}

static double time_of_day(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* How far the clock of `other` is ahead of rank 0's: its time is taken between two of rank 0's, and the
 * closest pair of several counts. All ranks take part; the other one gets the answer. */
static void compare_clocks(beam_comm *c, int other, double *ahead, double *error)
{
    enum { TRIES = 12 };
    *ahead = 0;
    *error = INFINITY;
    for (int i = 0; i < TRIES; i++) {
        double before = time_of_day(), theirs = 0, after;
        beam_comm_host_broadcast(c, &before, sizeof before, 0);
        if (c->rank == other)
            theirs = time_of_day();
        beam_comm_host_broadcast(c, &theirs, sizeof theirs, other);
        after = time_of_day();
        beam_comm_host_broadcast(c, &after, sizeof after, 0);
        if ((after - before) / 2 < *error) {
            *error = (after - before) / 2;
            *ahead = theirs - (before + after) / 2;
        }
    }
}

beam_status beam_survey_look(beam_comm *c, const beam_backend *be, beam_rank_facts *facts)
{
    beam_rank_facts mine;
    look_at_self(be, &mine);
    for (int r = 1; r < c->size; r++) {
        double ahead, error;
        compare_clocks(c, r, &ahead, &error);
        if (r == c->rank) {
            mine.clock = ahead;
            mine.clock_error = error;
        }
    }
    beam_comm_host_gather(c, &mine, facts, sizeof mine);
    return c->status;
}
