/* Event files, which TensorBoard draws curves from. A file is a sequence of TFRecords: length (u64), masked
 * CRC-32C of the length, bytes, masked CRC-32C of the bytes. The bytes of each are one protobuf message Event
 * (tensorflow/core/util/event.proto), of which this writes
 *
 *     wall_time = 1 (double)   step = 2 (int64)   file_version = 3 (string)
 *     summary = 5 { value = 1 { tag = 1 (string)  simple_value = 2 (float) } ... }
 *     session_log = 7 { status = 1: START }
 *
 * Failures are -1 with errno set: a run goes on without its curves, and the last error stays another's. */
#ifndef BEAM_DATA_TENSORBOARD_H
#define BEAM_DATA_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    BEAM_TENSORBOARD_TAG = 100
}; /* bytes of the longest tag; so every length but a summary's is one byte */

typedef struct {
    FILE *file; /* NULL: closed */
    char path[1200];
    int64_t step;                /* of the values that wait */
    unsigned char summary[8192]; /* the values of one step that wait for their record */
    size_t size;                 /* bytes of them */
} beam_tensorboard;

/* Makes folder/events.out.tfevents.SECONDS.HOST.PROCESS.N: a new file for each start of the program, since
 * TensorBoard reads the files of a folder in the order of their names and remembers how far it came. Its
 * first events are the version and the start of a session at `step`: TensorBoard forgets what older files say
 * of that step and later ones. After a failure `path` names the file and the writer is closed. */
int beam_tensorboard_open(beam_tensorboard *w, const char *folder, int64_t step);

/* One point of the curve `tag`, kept until the flush. NaN and infinities are fine; double becomes float, as
 * TensorBoard keeps no more. Closed, this and the flush do nothing. */
void beam_tensorboard_add(beam_tensorboard *w, int64_t step, const char *tag, double value);

/* Hands what was added to the system. After a failure, as when the disk is full, the writer is closed: behind
 * half a record nothing could be read. */
int beam_tensorboard_flush(beam_tensorboard *w);

/* What was not flushed may be lost. Closing twice is fine. */
void beam_tensorboard_close(beam_tensorboard *w);

#endif
