/* The folders of a run's checkpoints: their names, and which of them are there.
 *
 *     checkpoint-000500            in place
 *     checkpoint-000500.tmp-PID    being written, or being removed, by process PID
 *     checkpoint-000500.old-PID    moved aside by PID, which is putting a new one of the same step in place
 */
#ifndef BEAM_DATA_CHECKPOINT_FOLDER_H
#define BEAM_DATA_CHECKPOINT_FOLDER_H

#include "data/checkpoint.h"

enum { BEAM_CHECKPOINT_PATH = 1024 };

typedef struct {
    char name[64];
    int64_t step;
    char kind; /* 0: in place, 't': .tmp, 'o': .old */
    long pid;  /* of .tmp and .old */
} beam_checkpoint_entry;

/* All folders of out_dir with such a name in new memory (the caller frees *out), newest step first, and of
 * one step the one in place first. A missing out_dir holds none. */
beam_status beam_checkpoint_list(const char *out_dir, beam_checkpoint_entry **out, int *n);

/* out_dir/checkpoint-NNNNNN, and the same with ".tmp-PID" or ".old-PID" of this process. */
beam_status beam_checkpoint_path(char path[BEAM_CHECKPOINT_PATH], const char *out_dir, int64_t step,
                                 char kind);

/* Removes what dead processes left of unfinished writes and removals, and puts a folder back whose successor
 * never came. Only the process that holds the run's lock may call it. */
beam_status beam_checkpoint_clean(const char *out_dir);

#endif
