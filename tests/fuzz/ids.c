/* Any bytes as lines of token ids, and as questions: refused, or every id and label is in its range. */
#include "data/ids.h"
#include "fuzz/fuzz.h"

enum { VOCAB = 259 };

void fuzz_seeds(fuzz_taker take, void *context)
{
    fuzz_seed_text(take, context,
                   "{\"ids\": [12, 7, 99]}\n\n{\"ids\": [1, 2, 258], \"loss\": [0, 0, 1]}\r\n");
    fuzz_seed_text(take, context, "{\"ids\": [0]}");
    fuzz_seed_text(
        take, context,
        "{\"id\": \"q1\", \"context\": \"The capital of France is\", \"choices\": [\" Paris\", \" Rome\"], "
        "\"label\": 0}\n{\"id\": 7, \"context\": \"\", \"choices\": [\"a\", \"\\u00e9\", \"c\"]}\n");
}

static void check_ids(const char *path)
{
    beam_id_lines lines;
    if (beam_ids_read(path, VOCAB, &lines) != BEAM_OK)
        return;
    BEAM_ASSERT(lines.n > 0);
    for (int64_t i = 0; i < lines.n; i++) {
        BEAM_ASSERT(lines.line[i].n > 0 && lines.line[i].n <= lines.longest);
        for (int64_t k = 0; k < lines.line[i].n; k++)
            BEAM_ASSERT(lines.line[i].id[k] >= 0 && lines.line[i].id[k] < VOCAB &&
                        lines.line[i].loss[k] <= 1);
    }
    beam_ids_free(&lines);
}

static void check_questions(const char *path)
{
    beam_questions q;
    if (beam_questions_read(path, &q) != BEAM_OK)
        return;
    BEAM_ASSERT(q.n > 0);
    for (int64_t i = 0; i < q.n; i++) {
        BEAM_ASSERT(q.at[i].n >= 2 && q.at[i].n <= BEAM_MAX_CHOICES && q.at[i].label < q.at[i].n);
        for (int k = 0; k < q.at[i].n; k++)
            BEAM_ASSERT(q.at[i].choice[k][0]);
    }
    beam_questions_free(&q);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *path = fuzz_file("lines.jsonl", bytes, size);
    check_ids(path);
    check_questions(path);
    return 0;
}
