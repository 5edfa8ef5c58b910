/* Token ids from JSONL: one {"ids": [...]} per line, optionally {"ids": [...], "loss": [0, 1, ...]} that says
 * which tokens are targets; or multiple-choice questions {"id", "context", "choices", "label"}. For comparing
 * models and engines on exactly the same tokens. */
#ifndef BEAM_DATA_IDS_H
#define BEAM_DATA_IDS_H

#include <stdint.h>

#include "core/status.h"

typedef struct {
    int32_t *id;
    uint8_t *loss; /* [n] 1: a target when it is predicted */
    int64_t n;
    long number; /* of the line in the file, from 1 */
} beam_id_line;

typedef struct {
    beam_id_line *line;
    int64_t n, longest;
} beam_id_lines;

/* Reads the whole file. BEAM_EDATA with file and line if a line is not such an object or an id is outside
 * [0, vocab), BEAM_EIO if the file cannot be read. Free with beam_ids_free. */
beam_status beam_ids_read(const char *path, int64_t vocab, beam_id_lines *out);
void beam_ids_free(beam_id_lines *lines);

enum { BEAM_MAX_CHOICES = 16 };

typedef struct {
    char *id, *context;
    char *choice[BEAM_MAX_CHOICES];
    int n;
    int label;   /* -1: none given */
    long number; /* of the line in the file, from 1 */
} beam_question;

typedef struct {
    beam_question *at;
    int64_t n;
} beam_questions;

/* Reads multiple-choice questions. Free with beam_questions_free. */
beam_status beam_questions_read(const char *path, beam_questions *out);
void beam_questions_free(beam_questions *q);

#endif
