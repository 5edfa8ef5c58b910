#include "cli/verbs.h"

#include <stdio.h>
#include <string.h>

#define ROW(name, summary) {#name, summary, beam_verb_##name},
const beam_verb beam_verbs[BEAM_VERBS_N] = {BEAM_VERBS(ROW)};
#undef ROW

beam_status beam_verbs_describe(const char *form)
{
    static const char *const parts[][2] = {{"bench", "decode"}, {"bench", "batch"}, {"bench", "comm"}};
    char ask[32];
    snprintf(ask, sizeof ask, "--help=%s", form);
    for (int i = 0; i < BEAM_VERBS_N; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s", beam_verbs[i].name);
        BEAM_TRY(beam_verbs[i].run(2, (char *[]){name, ask, NULL}));
        for (size_t j = 0; j < sizeof parts / sizeof parts[0]; j++) {
            char part[32];
            snprintf(part, sizeof part, "%s", parts[j][1]);
            if (strcmp(parts[j][0], beam_verbs[i].name) == 0)
                BEAM_TRY(beam_verbs[i].run(3, (char *[]){name, part, ask, NULL}));
        }
    }
    return BEAM_OK;
}
