/* beam validate: what a configuration means, before anything is loaded. */
#include <stdio.h>

#include "cli/args.h"
#include "cli/verbs.h"
#include "train/config.h"

beam_status beam_verb_validate(int argc, char **argv)
{
    bool json = false, reference = false;
    const beam_option options[] = {
        {"json", BEAM_FLAG, &json, NULL, "print {\"config\": {...}, \"origins\": {...}}"},
        {"reference", BEAM_FLAG, &reference, NULL, "print the reference page of all keys (Markdown)"},
    };
    const beam_command command = {
        .synopsis = "validate CONFIG [key=value ...]",
        .about =
            "Checks a configuration file and prints it resolved: every key with its value, and as a comment\n"
            "where the value came from. The output is itself a configuration file. Keys can be overridden\n"
            "after the file: key=value, --key value or --key=value; key=null brings the default back.",
        .examples = "  beam validate run.yaml\n"
                    "  beam validate run.yaml mask.penalty=0.5 --learning-rate 3e-4\n"
                    "  beam validate run.yaml > resolved.yaml\n"
                    "  beam validate --reference > reference.md",
        .options = options,
        .n = 2,
        .overrides = true,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    if (reference) {
        beam_config_reference(stdout);
        return BEAM_OK;
    }
    if (rest.n == 0)
        return BEAM_FAIL(BEAM_ECONFIG, "which configuration file? usage: beam %s", command.synopsis);
    beam_config config;
    char **origins;
    BEAM_TRY(beam_config_load(rest.at[0], (const char *const *)rest.at + 1, rest.n - 1, &config, &origins));
    (json ? beam_config_dump_json : beam_config_dump)(&config, origins, stdout);
    beam_config_free_origins(origins);
    return BEAM_OK;
}
