/* Any bytes as text to prepare; the first one says of which kind. Refused, or every document is UTF-8. */
#include "data/text.h"
#include "fuzz/fuzz.h"

static const char *const name[] = {"text.txt", "text.jsonl", "text.txt.zst", "text.jsonl.zst"};

void fuzz_seeds(fuzz_taker take, void *context)
{
    static const char frame[] = "\x02\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00hello\xc9\x8f\xe5\xd2";
    fuzz_seed_text(take, context,
                   "\x04"
                   "one document\n<end>\nanother: \xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\n<end>\n");
    fuzz_seed_text(take, context,
                   "\x05{\"text\": \"a\\u00e9\\n\", \"more\": [1, {}]}\n\n{\"text\": \"\\ud83d\\ude42\"}\n");
    fuzz_seed_text(take, context, "\x09{\"text\": 1}\n{\"text\": \"kept\"}\nnot json\n");
    take(context, frame, sizeof frame - 1);
}

static void check_utf8(const char *text, size_t size)
{
    for (size_t i = 0, n; i < size; i += n)
        BEAM_ASSERT((n = beam_utf8_length(text + i, size - i)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0)
        return 0;
    const beam_text_options options = {.separator = bytes[0] & 4 ? "<end>" : NULL,
                                       .max_bad_rows = bytes[0] & 8 ? 2 : 0};
    beam_text *t;
    const char *text;
    size_t n;
    BEAM_ASSERT(beam_text_open(fuzz_file(name[bytes[0] & 3], bytes + 1, size - 1), &options, &t) == BEAM_OK);
    while (beam_text_next(t, &text, &n) == BEAM_OK && text) {
        check_utf8(text, n);
        BEAM_ASSERT(text[n] == '\0' && beam_text_bad_rows(t) <= options.max_bad_rows);
    }
    beam_text_close(t);
    return 0;
}
