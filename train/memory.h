/* How much of this machine's memory a model will take, before anything is allocated or read. */
#ifndef BEAM_TRAIN_MEMORY_H
#define BEAM_TRAIN_MEMORY_H

#include "comm/comm.h"
#include "core/host_memory.h"
#include "model/model.h"

/* The training that a model is opened for. */
typedef struct {
    int64_t accumulation;  /* micro-batches of a rank in an optimizer step */
    const beam_comm *comm; /* only its rank, size and local_size matter; NULL: a process alone */
} beam_training;

/* Where it computes. */
typedef struct {
    beam_dtype real;
    bool device; /* a GPU */
} beam_place;

/* Bytes of one rank. */
typedef struct {
    beam_memory_plan model;
    size_t optimizer;    /* moments of AdamW, of this rank's share */
    size_t accumulation; /* partial sums of gradients */
    size_t receiving;    /* gradients of other ranks on their way */
    size_t program;      /* code, libraries, buffers of kernels and of the reading of tensors */
    size_t saving; /* while a checkpoint is written: a copy of its numbers, and its file, at most as large */
    bool device;   /* a GPU holds all of that but `saving`, which is the host's */
    size_t host;   /* with a GPU: what the host needs beside it */
    size_t total;  /* of all at the highest point; with a GPU, on it */
    int64_t trained; /* numbers that train */
    int here;        /* ranks of this machine, each of which needs all that */
} beam_memory_need;

/* What a model opened with these options takes, and all that belongs to its training; `training` is NULL if
 * there is no optimizer and nothing is saved. Token files are not counted: they hold 5 bytes per token.
 * `program` is measured, on a GPU assumed; the rest is exact. BEAM_ECONFIG if the bytes of such shapes cannot
 * be counted in 64 bits. */
beam_status beam_memory_measure(beam_memory_need *out, const beam_model_config *config,
                                const beam_model_options *options, const beam_training *training,
                                beam_place place);

/* BEAM_ECONFIG, with the numbers and what to do, if the model called `name` needs more than the machine (or
 * the GPU, if that is what was measured) has, once per rank that runs on it; a warning if it needs more than
 * is free now. */
beam_status beam_memory_require(const char *name, const beam_memory_need *need,
                                const beam_host_memory *machine);

#endif
