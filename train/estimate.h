/* What a configuration will cost: memory, disk and operations, from config.json alone. Neither weights nor a
 * dataset need to be there. */
#ifndef BEAM_TRAIN_ESTIMATE_H
#define BEAM_TRAIN_ESTIMATE_H

#include "model/count.h"
#include "train/config.h"
#include "train/memory.h"

typedef struct {
    beam_place place;
    beam_model_config model;
    beam_parameter_count count;
    beam_memory_need train, eval; /* eval: batches of the same size */
    uint64_t checkpoint;          /* bytes on disk, at most: it is compressed */
    int64_t checkpoints;          /* that are there at once: the kept ones and the one being written */
    uint64_t export;              /* bytes of a whole model folder; trained tensors as float32 */
    double active;                /* experts per token that step_flops counts with */
    double step_flops;            /* of one optimizer step without padding (train/flops.h) */
} beam_estimate;

/* For a job of `ranks` ranks: memory is that of one of them, operations are those of all. */
beam_status beam_estimate_make(const beam_config *c, int ranks, beam_estimate *out);

/* Seconds that one process would need here for all operations of such a step, by the speed of a few passes of
 * random numbers. Takes the memory that training does. */
beam_status beam_estimate_measure(const beam_config *c, const beam_estimate *e, double *step_seconds);

/* Settings with which `memory` bytes are enough. */
typedef struct {
    char keys[192]; /* "gradient_checkpointing=true ...", as for the command line */
    size_t total;   /* beam_memory_need's */
} beam_advice;

enum { BEAM_ADVICE = 4 };

/* Up to BEAM_ADVICE ways to make a rank fit, none of which contains another; *n = 0 if there is none. */
beam_status beam_estimate_advise(const beam_config *c, int ranks, int64_t memory,
                                 beam_advice out[BEAM_ADVICE], int *n);

#endif
