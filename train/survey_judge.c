/* What a survey's facts mean. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "train/survey.h"

enum { WORDS = BEAM_SURVEY_CPUS / 64 };

typedef struct {
    const beam_rank_facts *facts;
    int ranks;
    char (*warning)[320];
    int n;
} verdict;

__attribute__((format(printf, 2, 3))) static void warn(verdict *v, const char *fmt, ...)
{
    if (v->n == BEAM_SURVEY_WARNINGS)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(v->warning[v->n++], sizeof v->warning[0], fmt, args);
    va_end(args);
}

static int count(const uint64_t cpu[WORDS])
{
    int n = 0;
    for (int i = 0; i < BEAM_SURVEY_CPUS; i++)
        n += (int)(cpu[i / 64] >> (i % 64) & 1);
    return n;
}

static bool same_host(const verdict *v, int a, int b)
{
    return strcmp(v->facts[a].host, v->facts[b].host) == 0;
}

static bool first_of_host(const verdict *v, int rank)
{
    for (int r = 0; r < rank; r++)
        if (same_host(v, r, rank))
            return false;
    return true;
}

static bool within(const uint64_t part[WORDS], const uint64_t whole[WORDS])
{
    for (int i = 0; i < WORDS; i++)
        if (part[i] & ~whole[i])
            return false;
    return true;
}

/* More threads of ranks of this host are confined to these processors than there are: true after a warning.
 */
static bool crowded(verdict *v, int host_of, const uint64_t cpu[WORDS])
{
    const beam_rank_facts *first = NULL;
    int64_t threads = 0;
    int ranks = 0;
    for (int r = 0; r < v->ranks; r++)
        if (same_host(v, r, host_of) && within(v->facts[r].cpu, cpu)) {
            first = first ? first : &v->facts[r];
            threads += v->facts[r].threads;
            ranks++;
        }
    const int cpus = count(cpu);
    if (!first || cpus == 0 || threads <= cpus)
        return false;
    warn(v,
         "%s is oversubscribed: %lld threads of %d rank%s share %d core%s. Set OMP_NUM_THREADS to cores "
         "divided "
         "by ranks, and let mpirun bind (scripts/launch/one_node.sh), or start fewer ranks",
         first->host, (long long)threads, ranks, ranks == 1 ? "" : "s", cpus, cpus == 1 ? "" : "s");
    return true;
}

/* Each rank's own processors, then all of the host's together; one warning per host is enough. */
static void judge_cores(verdict *v, int host_of)
{
    uint64_t all[WORDS] = {0};
    for (int r = 0; r < v->ranks; r++) {
        if (!same_host(v, r, host_of))
            continue;
        if (crowded(v, host_of, v->facts[r].cpu))
            return;
        for (int i = 0; i < WORDS; i++)
            all[i] |= v->facts[r].cpu[i];
    }
    crowded(v, host_of, all);
}

static void judge_programs(verdict *v)
{
    const beam_rank_facts *zero = &v->facts[0];
    for (int r = 1; r < v->ranks; r++) {
        const beam_rank_facts *f = &v->facts[r];
        if (f->program != zero->program) {
            warn(v,
                 "rank %d on %s runs another build of beam than rank 0 on %s: results may differ. Copy one "
                 "build "
                 "to all hosts",
                 r, f->host, zero->host);
            break;
        }
    }
    for (int r = 1; r < v->ranks; r++)
        if (strcmp(v->facts[r].mpi, zero->mpi) != 0) {
            warn(v, "rank %d on %s has loaded %s, rank 0 on %s %s: install the same MPI on all hosts", r,
                 v->facts[r].host, v->facts[r].mpi, zero->host, zero->mpi);
            break;
        }
}

static void judge_clock(verdict *v, int r)
{
    enum { TOLERATED = 1 }; /* seconds */
    const beam_rank_facts *f = &v->facts[r];
    if (!(fabs(f->clock) - f->clock_error <= TOLERATED))
        warn(v,
             "the clock of %s is %.1f s %s that of %s: times in logs will not match. Let both follow a time "
             "server (chrony)",
             f->host, fabs(f->clock), f->clock < 0 ? "behind" : "ahead of", v->facts[0].host);
}

static void judge_devices(verdict *v)
{
    for (int r = 1; r < v->ranks; r++)
        if (strcmp(v->facts[r].device, v->facts[0].device) != 0) {
            warn(v,
                 "rank %d computes on %s, rank 0 on %s: the slowest device sets the pace, and results depend "
                 "on "
                 "which rank has which",
                 r, v->facts[r].device, v->facts[0].device);
            return;
        }
}

int beam_survey_judge(const beam_rank_facts *facts, int n, char warning[BEAM_SURVEY_WARNINGS][320])
{
    verdict v = {.facts = facts, .ranks = n, .warning = warning};
    judge_programs(&v);
    judge_devices(&v);
    for (int r = 0; r < n; r++)
        if (first_of_host(&v, r)) {
            judge_cores(&v, r);
            judge_clock(&v, r);
        }
    return v.n;
}
