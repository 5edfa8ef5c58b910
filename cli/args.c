#include "cli/args.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/help.h"
#include "train/nearest.h"

enum { HELP = 1000 }; /* what getopt_long returns for --help; options return their index + HELP + 1 */

static int verb_length(const beam_command *c)
{
    return (int)strcspn(c->synopsis, " ");
}

static beam_status unknown_option(const beam_command *c, const char *given)
{
    const size_t length = strcspn(given, "=");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), given);
    const char *nearest = NULL;
    int best = INT_MAX;
    for (int i = 0; i < c->n; i++) {
        const int distance = beam_word_distance(name + strspn(name, "-"), c->options[i].name);
        if (distance < best) {
            best = distance;
            nearest = c->options[i].name;
        }
    }
    if (nearest && beam_word_is_near(best, nearest))
        return BEAM_FAIL(BEAM_ECONFIG, "unknown option %s; did you mean --%s?", name, nearest);
    return BEAM_FAIL(BEAM_ECONFIG, "unknown option %s%s; `beam %.*s --help` lists the options", name,
                     c->overrides ? " before the configuration file" : "", verb_length(c), c->synopsis);
}

static beam_status set_int(const beam_option *o, const char *text)
{
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return BEAM_FAIL(BEAM_ECONFIG, "--%s takes a whole number, not \"%.80s\"", o->name, text);
    *(int64_t *)o->to = value;
    return BEAM_OK;
}

static beam_status set_real(const beam_option *o, const char *text)
{
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value - value == 0)) /* neither infinite nor NaN */
        return BEAM_FAIL(BEAM_ECONFIG, "--%s takes a number, not \"%.80s\"", o->name, text);
    *(double *)o->to = value;
    return BEAM_OK;
}

static beam_status set_option(const beam_option *o, const char *text)
{
    switch (o->kind) {
    case BEAM_FLAG:
        *(bool *)o->to = true;
        return BEAM_OK;
    case BEAM_TEXT:
        *(const char **)o->to = text;
        return BEAM_OK;
    case BEAM_INT:
        return set_int(o, text);
    case BEAM_REAL:
        return set_real(o, text);
    }
    return BEAM_OK;
}

/* An option that the table does not have: an override of the configuration, with its value behind '=' or as
 * the next argument, or a mistake. */
static beam_status take_unknown(const beam_command *c, int argc, char **argv, beam_args *rest)
{
    if (optopt > HELP)
        return BEAM_FAIL(BEAM_ECONFIG, "--%s takes no value", c->options[optopt - HELP - 1].name);
    if (optopt != 0) /* a short option: argv[optind - 1] need not be the argument it is in */
        return unknown_option(c, (char[]){'-', (char)optopt, '\0'});
    char *given = argv[optind - 1];
    if (!c->overrides || rest->n == 0) /* overrides come after the configuration file */
        return unknown_option(c, given);
    rest->at[rest->n++] = given;
    if (!strchr(given, '=') && optind < argc)
        rest->at[rest->n++] = argv[optind++];
    return BEAM_OK;
}

static beam_status check_count(const beam_command *c, const beam_args *rest)
{
    if (rest->n < c->min)
        return BEAM_FAIL(BEAM_ECONFIG, "too few arguments; usage: beam %s", c->synopsis);
    if (!c->overrides && rest->n > c->max)
        return BEAM_FAIL(BEAM_ECONFIG, "unexpected argument \"%.80s\"; usage: beam %s", rest->at[c->max],
                         c->synopsis);
    return BEAM_OK;
}

static void fill_table(const beam_command *c, struct option table[BEAM_MAX_OPTIONS + 2])
{
    BEAM_ASSERT(c->n <= BEAM_MAX_OPTIONS);
    for (int i = 0; i < c->n; i++) {
        const beam_option *o = &c->options[i];
        table[i] = (struct option){o->name, o->kind == BEAM_FLAG ? no_argument : required_argument, NULL,
                                   HELP + 1 + i};
    }
    table[c->n] = (struct option){"help", optional_argument, NULL, HELP};
    table[c->n + 1] = (struct option){0};
}

beam_status beam_args_parse(const beam_command *c, int argc, char **argv, beam_args *rest)
{
    struct option table[BEAM_MAX_OPTIONS + 2];
    fill_table(c, table);
    *rest = (beam_args){.at = argv + 1}; /* never ahead of optind, so nothing unread is overwritten */
    opterr = 0;
    optind = 0; /* start anew */
    /* '+': stop at each argument that is no option, so that overrides keep their order; ':': tell a missing
     * value from an unknown option. */
    for (;;) {
        const int found = getopt_long(argc, argv, "+:h", table, NULL);
        if (found == -1 && optind >= argc)
            return check_count(c, rest);
        if (found == -1) {
            rest->at[rest->n++] = argv[optind++];
        } else if (found == HELP || found == 'h') {
            rest->help = true;
            return beam_help_print(c, found == HELP ? optarg : NULL);
        } else if (found == ':') {
            return BEAM_FAIL(BEAM_ECONFIG, "%s needs a value", argv[optind - 1]);
        } else if (found == '?') {
            BEAM_TRY(take_unknown(c, argc, argv, rest));
        } else {
            BEAM_TRY(set_option(&c->options[found - HELP - 1], optarg));
        }
    }
}
