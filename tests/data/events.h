/* Reads TensorBoard's event files, strictly: every length and checksum must be right. */
#ifndef BEAM_TESTS_DATA_EVENTS_H
#define BEAM_TESTS_DATA_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t step;
    double wall_time; /* seconds since 1970 */
    char tag[128];
    float value;
} event_point;

typedef struct {
    char version[32];
    int64_t start; /* step of the session's start; -1: none */
    int records, n;
    event_point *at; /* [n] */
    bool torn;       /* the last record is not whole */
} event_file;

/* The events of these bytes; fails the test where they are not the format. Free with events_free. */
event_file events_read(const void *bytes, size_t size);
void events_free(event_file *e);

/* The points that TensorBoard would show of the event files of a folder: in the order of the names, a start
 * dropping what came before of its step and later. Free with events_free. */
event_file events_of_folder(const char *folder);

#endif
