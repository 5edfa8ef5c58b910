/* The verbs of `beam`. A new one is one line here and the file that defines its function:
 *
 *     beam_status beam_verb_NAME(int argc, char **argv);     argv[0] is the verb
 *
 * It parses its own arguments (cli/args.h), prints its result on stdout, and returns a status; main prints
 * the message of a failure. */
#ifndef BEAM_CLI_VERBS_H
#define BEAM_CLI_VERBS_H

#include "core/status.h"

#define BEAM_VERBS(VERB)                                                                                     \
    VERB(init, "a starter configuration for a model, and launch scripts")                                    \
    VERB(preprocess, "text to a token file")                                                                 \
    VERB(train, "fine-tune a model's mask gates, or all of it")                                              \
    VERB(eval, "loss, accuracy and active experts on a token file")                                          \
    VERB(score, "log-probabilities and experts of given tokens; multiple-choice questions")                  \
    VERB(generate, "what a model writes after prompts; dropped experts are not read")                        \
    VERB(grads, "loss and gradients of one batch, for comparing with another framework")                     \
    VERB(export, "a trained model, or its masks, as a Hugging Face folder")                                  \
    VERB(inspect, "what a checkpoint, model folder or token file holds")                                     \
    VERB(report, "evaluations and runs side by side: a table and an HTML page")                              \
    VERB(bench, "timings with the hardware bound beside each")                                               \
    VERB(estimate, "memory, disk and work of a configuration, before anything is loaded")                    \
    VERB(validate, "check a configuration: every key, its value and where it came from")                     \
    VERB(doctor, "what this machine has and lacks")                                                          \
    VERB(completion, "completion of the command line, for bash or zsh")                                      \
    VERB(man, "the manual pages, as a formatter reads them")

#define BEAM_DECLARE_VERB(name, summary) beam_status beam_verb_##name(int argc, char **argv);
BEAM_VERBS(BEAM_DECLARE_VERB)
#undef BEAM_DECLARE_VERB

typedef struct {
    const char *name, *summary;
    beam_status (*run)(int argc, char **argv);
} beam_verb;

#define BEAM_NUMBER_VERB(name, summary) BEAM_VERB_##name,
enum { BEAM_VERBS(BEAM_NUMBER_VERB) BEAM_VERBS_N };
#undef BEAM_NUMBER_VERB

extern const beam_verb beam_verbs[BEAM_VERBS_N];

/* Prints every verb's help in one of the forms of cli/help.h. */
beam_status beam_verbs_describe(const char *form);

#endif
