/* beam man: beam(1) from what the verbs say about themselves, beam.yaml(5) from the table of keys. */
#include <stdio.h>

#include "cli/args.h"
#include "cli/help.h"
#include "cli/verbs.h"
#include "train/config.h"

static void title(const char *name, int section, const char *summary)
{
    printf(".TH %s %d \"\" \"beam %s\" \"beam\"\n.SH NAME\n%s \\- %s\n", name, section, BEAM_VERSION, name,
           summary);
}

static void print_verbs(void)
{
    printf(".SH VERBS\n");
    for (int i = 0; i < BEAM_VERBS_N; i++) {
        printf(".TP\n.B %s\n", beam_verbs[i].name);
        beam_man_text(stdout, beam_verbs[i].summary);
    }
    printf(".PP\nEvery verb takes \\fB\\-\\-help\\fR. Options that print results take \\fB\\-\\-json\\fR.\n");
}

static void print_rest(void)
{
    static const char *const codes[][2] = {
        {"0", "done"},
        {"2", "configuration or usage"},
        {"3", "data refused"},
        {"4", "model or checkpoint refused"},
        {"5", "input or output: no such file, no permission, a full disk"},
        {"6", "numeric failure: loss or gradients not finite"},
        {"7", "stopped by a signal, with a good checkpoint: the same command goes on"},
        {"70", "anything else: memory, a device, a bug"},
    };
    static const char *const variables[][2] = {
        {"BEAM_LOG", "`error`, `warn`, `info` (default) or `debug`: lines on standard error"},
        {"OMP_NUM_THREADS", "threads, where neither the key threads nor --threads says so"},
        {"OMP_WAIT_POLICY", "`passive`: threads sleep while they wait; for shared machines"},
    };
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        printf(".TP\n.B %s\n", codes[i][0]);
        beam_man_text(stdout, codes[i][1]);
    }
    printf(".SH ENVIRONMENT\n");
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        printf(".TP\n.B %s\n", variables[i][0]);
        beam_man_text(stdout, variables[i][1]);
    }
    printf(".SH SEE ALSO\n.BR beam.yaml (5),\n.BR mpirun (1)\n");
}

static beam_status print_program(void)
{
    title("beam", 1, "makes a Mixture\\-of\\-Experts language model run fewer experts per token");
    printf(".SH SYNOPSIS\n.B beam\n.I VERB\n.RI [ OPTION \\ ...]\n.RI [ ARGUMENT \\ ...]\n.SH DESCRIPTION\n");
    beam_man_text(stdout,
                  "A small trainable mask gate beside each router looks at every token and decides which of "
                  "the router's Top-K experts really run. beam trains such gates on a Hugging Face "
                  "checkpoint, evaluates and exports the result, and generates with it.");
    print_verbs();
    printf(".SH OPTIONS OF EACH VERB\n");
    BEAM_TRY(beam_verbs_describe("man"));
    print_rest();
    return BEAM_OK;
}

static void print_key(const beam_key_text *key, void *context)
{
    (void)context;
    if (key->group)
        printf(".SS %s\n", key->group);
    printf(".TP\n\\fB%s\\fR (%s; default: %s)\n", key->name, key->takes, key->initial);
    beam_man_text(stdout, key->help);
    if (key->aliases)
        printf("Also accepted: %s.\n", key->aliases);
}

static void print_keys(void)
{
    title("beam.yaml", 5, "configuration of beam train and other verbs");
    printf(".SH DESCRIPTION\n");
    beam_man_text(stdout,
                  "A YAML file. Keys with a dot stand in a section: `mask.penalty` is `penalty:` indented "
                  "below `mask:`. On the command line `key=value` or `--key value` after the file override "
                  "it; `null` brings a default back. Paths count from the current folder. Unknown keys are "
                  "errors. `beam validate` prints every key with its value and where it came from.");
    printf(".SH KEYS\n");
    beam_config_each(print_key, NULL);
    printf(".SH SEE ALSO\n.BR beam (1)\n");
}

beam_status beam_verb_man(int argc, char **argv)
{
    bool config = false;
    const beam_option options[] = {
        {"config", BEAM_FLAG, &config, NULL, "beam.yaml(5), the configuration, instead of beam(1)"},
    };
    const beam_command command = {
        .synopsis = "man",
        .about =
            "Prints beam(1), made from what every verb says about itself, or beam.yaml(5), made from the\n"
            "table of configuration keys. `cmake --install` puts both where man looks for them.",
        .examples = "  beam man | man -l -\n"
                    "  beam man --config | man -l -",
        .options = options,
        .n = 1,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    if (!config)
        return print_program();
    print_keys();
    return BEAM_OK;
}
