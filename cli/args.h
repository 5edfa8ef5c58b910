/* The command line of one verb, over getopt_long: a table of options gives parsing and --help.
 *
 *     bool json = false;
 *     const beam_option options[] = {{"json", BEAM_FLAG, &json, NULL, "print one JSON object"}};
 *     const beam_command command = {.synopsis = "inspect PATH", .about = "...", .examples = "...",
 *                                   .options = options, .n = 1, .min = 1, .max = 1};
 *     beam_args rest;
 *     BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
 *     if (rest.help)
 *         return BEAM_OK;
 */
#ifndef BEAM_CLI_ARGS_H
#define BEAM_CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* What an option's `to` points at: bool, const char *, int64_t, double. */
typedef enum { BEAM_FLAG, BEAM_TEXT, BEAM_INT, BEAM_REAL } beam_option_kind;

typedef struct {
    const char *name; /* without the dashes */
    beam_option_kind kind;
    void *to;          /* keeps its value when the option is absent */
    const char *value; /* what --help calls the value: "DIR"; NULL for flags */
    const char *help;
} beam_option;

typedef struct {
    const char *synopsis; /* starts with the verb: "validate CONFIG [key=value ...]" */
    const char *about;    /* paragraphs for --help */
    const char *examples; /* lines for --help */
    const beam_option *options;
    int n;        /* options, at most BEAM_MAX_OPTIONS */
    int min, max; /* how many arguments besides options */
    bool
        overrides; /* any number of key=value, --key=value, --key value after the arguments; max is ignored */
} beam_command;

enum { BEAM_MAX_OPTIONS = 32 };

/* What is left when the options are taken out, in order. */
typedef struct {
    char **at;
    int n;
    bool help; /* --help was asked for and printed: nothing else is to be done */
} beam_args;

/* argv[0] is the verb; argv is rearranged. BEAM_ECONFIG with the nearest option for an unknown one, for a
 * missing or wrong value, and for too few or too many arguments. */
beam_status beam_args_parse(const beam_command *command, int argc, char **argv, beam_args *rest);

#endif
