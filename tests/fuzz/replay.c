/* Drives a fuzz target without libFuzzer: its seeds, then changed copies of them, the same ones every time.
 *
 *     TARGET [COUNT]            tries the seeds and COUNT changed inputs
 *     TARGET --write FOLDER     writes the seeds there, as a corpus for libFuzzer
 *     TARGET --show N           writes input N to standard output
 *
 * Inputs are tried in a child process, so that the number of one that breaks the target is known. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "data/file.h"
#include "fuzz/fuzz.h"

enum { MAX_SEEDS = 256, MAX_INPUT = 1 << 16 };

typedef struct {
    uint8_t *bytes;
    size_t size;
} text;

typedef struct {
    text at[MAX_SEEDS];
    uint64_t n;
} seed_list;

static void keep(void *context, const void *bytes, size_t size)
{
    seed_list *list = context;
    BEAM_ASSERT(list->n < MAX_SEEDS);
    if (size > MAX_INPUT)
        return;
    text *t = &list->at[list->n++];
    *t = (text){malloc(size + 1), size};
    BEAM_ASSERT(t->bytes);
    memcpy(t->bytes, bytes, size);
}

/* Random numbers of one changed input. */
typedef struct {
    uint64_t input, count;
} dice;

static size_t roll(dice *d, size_t sides)
{
    return sides ? beam_random_bits(1, d->input, d->count++) % sides : 0;
}

/* Moves the end of the input from `from` to `to`, as far as there is room. */
static void move_tail(text *t, size_t from, size_t to)
{
    const size_t tail = t->size - from;
    if (to + tail > MAX_INPUT)
        return;
    memmove(t->bytes + to, t->bytes + from, tail);
    t->size = to + tail;
}

/* Words that mean something to one of the formats. */
static const char *const words[] = {"0",       "-1",      "1e308", "9223372036854775807",
                                    "null",    "true",    "\"\"",  "{}",
                                    "[]",      "{",       "[",     "\"",
                                    "\\u0000", "\\ud800", ",",     ":",
                                    "\n",      "../",     "\xff",  "*a",
                                    "&a",      "!!",      "- ",    "? ",
                                    "'",       "|",       "#"};

static void overwrite(text *t, size_t at, const void *bytes, size_t n)
{
    n = n < t->size - at ? n : t->size - at;
    memcpy(t->bytes + at, bytes, n);
}

static void change(text *t, const seed_list *seeds, dice *d)
{
    const size_t at = roll(d, t->size), n = roll(d, roll(d, t->size - at) + 1);
    const text *other = &seeds->at[roll(d, seeds->n)];
    const size_t from = roll(d, other->size);
    const char *word = words[roll(d, sizeof words / sizeof *words)];
    switch (roll(d, 7)) {
    case 0: /* one bit */
        if (t->size)
            t->bytes[at] ^= (uint8_t)(1u << roll(d, 8));
        break;
    case 1: /* any byte */
        if (t->size)
            t->bytes[at] = (uint8_t)roll(d, 256);
        break;
    case 2: /* a part is missing */
        move_tail(t, at + n, at);
        break;
    case 3: /* a part comes twice */
        move_tail(t, at, at + n);
        break;
    case 4: /* a word more */
        move_tail(t, at, at + strlen(word));
        overwrite(t, at, word, strlen(word));
        break;
    case 5: /* a word instead */
        overwrite(t, at, word, strlen(word));
        break;
    case 6: /* a part of another seed instead */
        overwrite(t, at, other->bytes + from, other->size - from < n ? other->size - from : n);
        break;
    }
}

/* Input i: the seeds first. */
static void make(text *t, const seed_list *seeds, uint64_t i)
{
    dice d = {.input = i};
    const text *seed = &seeds->at[i < seeds->n ? i : roll(&d, seeds->n)];
    memcpy(t->bytes, seed->bytes, seed->size);
    t->size = seed->size;
    if (i < seeds->n)
        return;
    for (size_t changes = 1 + roll(&d, 4); changes > 0; changes--)
        change(t, seeds, &d);
}

/* Tries the inputs from *at on, which says how far it came. */
static void try_all(const seed_list *seeds, volatile uint64_t *at, uint64_t end)
{
    text t = {.bytes = malloc(MAX_INPUT)};
    BEAM_ASSERT(t.bytes);
    for (; *at < end; ++*at) {
        make(&t, seeds, *at);
        uint8_t *exact = malloc(t.size ? t.size : 1); /* so that reading beyond the end is noticed */
        BEAM_ASSERT(exact);
        memcpy(exact, t.bytes, t.size);
        LLVMFuzzerTestOneInput(exact, t.size);
        free(exact);
    }
    free(t.bytes);
}

static int replay(const seed_list *seeds, uint64_t count)
{
    int broken = 0;
    const uint64_t end = seeds->n + count;
    volatile uint64_t *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BEAM_ASSERT(at != MAP_FAILED);
    fuzz_folder(); /* one for all children */
    while (*at < end && broken < 10) {
        int status;
        const pid_t child = fork();
        if (child == 0) {
            try_all(seeds, at, end);
            exit(0);
        }
        BEAM_ASSERT(child > 0 && waitpid(child, &status, 0) == child);
        if (status == 0 && *at == end)
            break;
        printf("input %llu breaks it (status %d); --show %llu writes it\n", (unsigned long long)*at, status,
               (unsigned long long)*at);
        broken++;
        ++*at;
    }
    printf("%llu seeds and %llu changed inputs: %d broke it\n", (unsigned long long)seeds->n,
           (unsigned long long)count, broken);
    return broken > 0;
}

static int write_seeds(const seed_list *seeds, const char *folder)
{
    for (uint64_t i = 0; i < seeds->n; i++) {
        char path[1024], name[32];
        snprintf(name, sizeof name, "seed-%03llu", (unsigned long long)i);
        if (beam_join_path(path, sizeof path, folder, name) != BEAM_OK ||
            beam_file_write(path, seeds->at[i].bytes, seeds->at[i].size) != BEAM_OK) {
            fprintf(stderr, "%s\n", beam_last_error());
            return 1;
        }
    }
    return 0;
}

static int show(const seed_list *seeds, uint64_t i)
{
    static uint8_t room[MAX_INPUT];
    text t = {.bytes = room};
    make(&t, seeds, i);
    return fwrite(t.bytes, 1, t.size, stdout) == t.size ? 0 : 1;
}

int main(int argc, char **argv)
{
    static seed_list seeds;
    int failed = 2;
    fuzz_seeds(keep, &seeds);
    if (argc <= 2)
        failed = replay(&seeds, argc == 2 ? strtoull(argv[1], NULL, 10) : FUZZ_INPUTS);
    else if (argc == 3 && strcmp(argv[1], "--write") == 0)
        failed = write_seeds(&seeds, argv[2]);
    else if (argc == 3 && strcmp(argv[1], "--show") == 0)
        failed = show(&seeds, strtoull(argv[2], NULL, 10));
    else
        fprintf(stderr, "usage: %s [COUNT] | --write FOLDER | --show N\n", argv[0]);
    for (uint64_t i = 0; i < seeds.n; i++)
        free(seeds.at[i].bytes);
    return failed;
}
