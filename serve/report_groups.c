#include "serve/report_groups.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c)
{
    return isdigit((unsigned char)c) != 0;
}

/* The last number of a text, [*from, *until), with its decimals; false if there is none. */
static bool find_number(const char *text, size_t *from, size_t *until)
{
    size_t i = strlen(text);
    while (i > 0 && !is_digit(text[i - 1]))
        i--;
    *until = i;
    while (i > 0 && (is_digit(text[i - 1]) || (text[i - 1] == '.' && i > 1 && is_digit(text[i - 2]))))
        i--;
    *from = i;
    return *from < *until;
}

char *beam_report_series(const char *name)
{
    const char *slash = strchr(name, '/');
    size_t from, until;
    if (slash && slash > name && slash[1] != '\0')
        return strndup(name, (size_t)(slash - name));
    if (!find_number(name, &from, &until))
        return strdup(name);
    const size_t rest = strlen(name + until);
    char *out = malloc(from + rest + 2);
    if (!out)
        return NULL;
    memcpy(out, name, from);
    out[from] = 'N';
    memcpy(out + from + 1, name + until, rest + 1);
    return out;
}

static int find(const beam_report_groups *g, const char *series)
{
    int i = 0;
    while (i < g->n && strcmp(g->label[i], series) != 0)
        i++;
    return i;
}

/* The name instead of the series where only one evaluation is of it. */
static beam_status name_single(const beam_report *r, beam_report_groups *g)
{
    for (int group = 0; group < g->n; group++) {
        int evals = 0, last = 0;
        for (int i = 0; i < r->evals; i++)
            if (g->of[i] == group) {
                evals++;
                last = i;
            }
        if (evals > 1)
            continue;
        free(g->label[group]);
        g->label[group] = strdup(r->eval[last].name);
        if (!g->label[group])
            return BEAM_FAIL(BEAM_ENOMEM, "no memory for a name");
    }
    return BEAM_OK;
}

static beam_status collect(const beam_report *r, beam_report_groups *g)
{
    g->of = calloc((size_t)r->evals + 1, sizeof *g->of);
    g->label = calloc((size_t)r->evals + 1, sizeof *g->label);
    if (!g->of || !g->label)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for %d evaluations", r->evals);
    for (int i = 0; i < r->evals; i++) {
        char *series = beam_report_series(r->eval[i].name);
        if (!series)
            return BEAM_FAIL(BEAM_ENOMEM, "no memory for a name");
        g->of[i] = find(g, series);
        if (g->of[i] == g->n)
            g->label[g->n++] = series;
        else
            free(series);
    }
    return name_single(r, g);
}

beam_status beam_report_group(const beam_report *r, beam_report_groups *out)
{
    *out = (beam_report_groups){0};
    const beam_status s = collect(r, out);
    if (s)
        beam_report_ungroup(out);
    return s;
}

void beam_report_ungroup(beam_report_groups *g)
{
    for (int i = 0; i < g->n; i++)
        free(g->label[i]);
    free(g->label);
    free(g->of);
    *g = (beam_report_groups){0};
}
