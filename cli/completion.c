/* beam completion: the scripts of cli/completion with the tables of verbs, options and keys filled in. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/embedded.h"
#include "cli/verbs.h"
#include "train/config.h"

static void print_verbs(void)
{
    for (int i = 0; i < BEAM_VERBS_N; i++)
        printf("%s %s\n", beam_verbs[i].name, beam_verbs[i].summary);
    printf("help explains a verb\nversion the version of the program\n");
}

static beam_status fill(const char *line, size_t n)
{
    if (n == strlen("@VERBS@") && strncmp(line, "@VERBS@", n) == 0)
        print_verbs();
    else if (n == strlen("@OPTIONS@") && strncmp(line, "@OPTIONS@", n) == 0)
        return beam_verbs_describe("words");
    else if (n == strlen("@KEYS@") && strncmp(line, "@KEYS@", n) == 0)
        beam_config_words(stdout);
    else
        printf("%.*s\n", (int)n, line);
    return BEAM_OK;
}

static beam_status print(const beam_embedded *e)
{
    const char *text = (const char *)e->bytes, *const end = text + e->size;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        BEAM_TRY(fill(text, (size_t)(stop - text)));
        text = stop + 1;
    }
    return BEAM_OK;
}

beam_status beam_verb_completion(int argc, char **argv)
{
    const beam_command command = {
        .synopsis = "completion bash|zsh",
        .about = "Prints a script that completes verbs, options, configuration keys and their values on the\n"
                 "command line. `cmake --install` puts both where the shells look for them.",
        .examples = "  source <(beam completion bash)\n"
                    "  beam completion zsh > ~/.zfunc/_beam",
        .min = 1,
        .max = 1,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    for (int i = 0; i < beam_completions_n; i++)
        if (strcmp(strrchr(beam_completions[i].path, '.') + 1, rest.at[0]) == 0)
            return print(&beam_completions[i]);
    return BEAM_FAIL(BEAM_ECONFIG, "completion %.40s: there are bash and zsh", rest.at[0]);
}
