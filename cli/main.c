/* beam VERB ...: finds the verb, runs it, and turns its status into a message and an exit code. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/verbs.h"
#include "core/log.h"
#include "core/terminal.h"
#include "train/nearest.h"

static void print_verb(FILE *to, const char *name, const char *summary)
{
    enum { COLUMN = 14 };
    fprintf(to, "  %-11s ", name);
    beam_print_wrapped(to, summary, COLUMN, COLUMN, beam_text_columns(to));
}

static void print_overview(FILE *to)
{
    fputs("beam: makes a Mixture-of-Experts language model run fewer experts per token\n\n"
          "usage: beam VERB ...\n\n",
          to);
    for (int i = 0; i < BEAM_VERBS_N; i++)
        print_verb(to, beam_verbs[i].name, beam_verbs[i].summary);
    print_verb(to, "help", "this list; `beam help VERB` or `beam VERB --help` explains one verb");
    print_verb(to, "version", "the version of the program");
    putc('\n', to);
    beam_print_wrapped(
        to,
        "exit codes: 0 ok, 2 configuration or usage, 3 data, 4 model or checkpoint refused, 5 I/O or "
        "full disk, 6 numeric failure, 7 stopped by a signal with a good checkpoint, 70 internal",
        0, 0, beam_text_columns(to));
}

static const beam_verb *find(const char *name)
{
    for (int i = 0; i < BEAM_VERBS_N; i++)
        if (strcmp(beam_verbs[i].name, name) == 0)
            return &beam_verbs[i];
    return NULL;
}

static beam_status unknown(const char *name)
{
    const char *nearest = NULL;
    int best = INT_MAX;
    for (int i = 0; i < BEAM_VERBS_N; i++) {
        const int distance = beam_word_distance(name, beam_verbs[i].name);
        if (distance < best) {
            best = distance;
            nearest = beam_verbs[i].name;
        }
    }
    if (nearest && beam_word_is_near(best, nearest))
        return BEAM_FAIL(BEAM_ECONFIG, "unknown verb \"%.60s\"; did you mean `beam %s`?", name, nearest);
    return BEAM_FAIL(BEAM_ECONFIG, "unknown verb \"%.60s\"; `beam help` lists them", name);
}

static beam_status help(int argc, char **argv)
{
    if (argc < 2) {
        print_overview(stdout);
        return BEAM_OK;
    }
    const beam_verb *v = find(argv[1]);
    char *ask[] = {argv[1], "--help", NULL};
    return v ? v->run(2, ask) : unknown(argv[1]);
}

static beam_status run(int argc, char **argv)
{
    const char *name = argv[0];
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return help(argc, argv);
    if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("beam %s\n", BEAM_VERSION);
        return BEAM_OK;
    }
    const beam_verb *v = find(name);
    return v ? v->run(argc, argv) : unknown(name);
}

/* A full disk or a closed pipe shows only when the last bytes go out. */
static beam_status flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return BEAM_OK;
    return BEAM_FAIL(BEAM_EIO, "cannot write to standard output; is the disk full?");
}

int main(int argc, char **argv)
{
    char *no_verb[] = {"help", NULL};
    beam_status s = argc < 2 ? run(1, no_verb) : run(argc - 1, argv + 1);
    if (s == BEAM_OK)
        s = flush_output();
    if (s != BEAM_OK) {
        const char *name = argc > 1 && find(argv[1]) ? argv[1] : NULL;
        char who[32];
        snprintf(who, sizeof who, "beam%s%.20s: ", name ? " " : "", name ? name : "");
        beam_print_message(stderr, who, "", beam_last_error());
        if (beam_log_threshold() >= BEAM_LOG_DEBUG)
            fputs(beam_error_trace(), stderr);
    }
    return beam_exit_code(s);
}
