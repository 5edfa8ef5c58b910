/* What the ranks of a job find out about one another: who runs where, on which processors, with which program
 * and clock, and how fast data move between them. */
#ifndef BEAM_TRAIN_SURVEY_H
#define BEAM_TRAIN_SURVEY_H

#include "comm/comm.h"

enum {
    BEAM_SURVEY_CPUS = 2048, /* processors told apart; higher numbers are not looked at */
    BEAM_SURVEY_WARNINGS = 8,
};

typedef struct {
    char host[64], device[32];
    char mpi[64];                        /* the library's file, e.g. "libmpi.so.40.30.4"; "" without MPI */
    char cpus[96];                       /* the processors it may run on, e.g. "0-3,8" */
    uint64_t cpu[BEAM_SURVEY_CPUS / 64]; /* the same, a bit each */
    int64_t pid;
    int64_t threads;
    uint64_t program; /* of the program file's content; 0 if it cannot be read */
    double clock,
        clock_error; /* seconds that its time of day is ahead of rank 0's, and how wrong that may be */
} beam_rank_facts;

/* facts[size] of all ranks, on every rank. `be` is what the rank computes on. Collective. */
beam_status beam_survey_look(beam_comm *c, const beam_backend *be, beam_rank_facts *facts);

/* A list of processors as Linux writes it ("0-3,8") into bits; returns how many it names. */
int beam_survey_cpus(const char *list, uint64_t cpu[BEAM_SURVEY_CPUS / 64]);

/* What is wrong among `n` ranks, each with what to do; returns the number of warnings. */
int beam_survey_judge(const beam_rank_facts *facts, int n, char warning[BEAM_SURVEY_WARNINGS][320]);

/* Every rank sends every other one `bytes` (a multiple of 4) from the comm's backend's memory, a few times;
 * what arrives is compared bit for bit. *seconds: of the best time, on the slowest rank. Collective. */
beam_status beam_survey_exchange(beam_comm *c, int64_t bytes, double *seconds);

#endif
