#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/text.h"
#include "data/tokenizer.h"
#include "serve/chart.h"
#include "serve/html.h"
#include "serve/report_parts.h"
#include "serve/series.h"

enum { SHOWN = 2, LEVELS = 8 };

/* A text, byte by byte, with the kept experts of the token that each byte is of. */
typedef struct {
    char *byte;
    double *kept;
    size_t n;
} spread;

static void append(spread *s, const char *bytes, size_t n, double kept)
{
    for (size_t i = 0; i < n; i++) {
        s->byte[s->n] = bytes[i];
        s->kept[s->n++] = kept;
    }
}

/* Ids of a tokenizer that beam does not have stand for themselves. */
static beam_status spread_tokens(const beam_sample *sample, spread *out)
{
    const beam_tokenizer *t = beam_tokenizer_find(sample->tokenizer);
    const size_t room = (size_t)sample->n * BEAM_TOKEN_BYTES + 1;
    *out = (spread){.byte = malloc(room), .kept = malloc(room * sizeof(double))};
    if (!out->byte || !out->kept)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for a text of %lld tokens", (long long)sample->n);
    for (int64_t i = 0; i < sample->n; i++) {
        char bytes[BEAM_TOKEN_BYTES];
        const char *special = t ? beam_tokenizer_special(t, sample->id[i]) : NULL;
        size_t n;
        if (special)
            n = (size_t)snprintf(bytes, sizeof bytes, "%s", special);
        else if (t)
            n = beam_tokenizer_decode(t, sample->id[i], bytes);
        else
            n = (size_t)snprintf(bytes, sizeof bytes, "%d ", (int)sample->id[i]);
        append(out, bytes, n, sample->kept[i]);
    }
    return BEAM_OK;
}

/* The level of one character: of the mean over its bytes, where 0 is `lo` and the highest is `hi`. */
static int level_of(const double *kept, size_t n, double lo, double hi)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += kept[i];
    const double at = LEVELS * (sum / (double)n - lo) / (hi - lo);
    return !(at > 0) ? 0 : at >= LEVELS ? LEVELS - 1 : (int)at;
}

static void print_stretch(FILE *to, const char *bytes, size_t n, int level)
{
    if (n == 0)
        return;
    fprintf(to, "<span class=\"t%d\">", level);
    beam_html_bytes(to, bytes, n);
    fputs("</span>", to);
}

/* One <span> for as many characters as have the same level. */
static void print_spread(FILE *to, const spread *s, double lo, double hi)
{
    size_t from = 0;
    int level = 0;
    for (size_t i = 0, n; i < s->n; i += n) {
        n = beam_utf8_length(s->byte + i, s->n - i);
        n += n == 0;
        const int next = level_of(s->kept + i, n, lo, hi);
        if (next != level) {
            print_stretch(to, s->byte + from, i - from, level);
            from = i;
        }
        level = next;
    }
    print_stretch(to, s->byte + from, s->n - from, level);
}

static beam_status draw_text(const beam_report_eval *eval, FILE *to)
{
    const beam_sample *sample = &eval->result.sample;
    spread s = {0};
    char from[32], until[48];
    double lo = 0, hi = 1;
    beam_status status = beam_series_range(sample->kept, sample->n, &lo, &hi);
    if (!status)
        status = spread_tokens(sample, &s);
    if (!status) {
        if (!(hi > lo))
            hi = lo + 1;
        snprintf(from, sizeof from, "%.1f", lo);
        snprintf(until, sizeof until, "%.1f experts", hi);
        fputs("<div class=\"card\">\n<h3>", to);
        beam_html_text(to, eval->name);
        fputs("</h3>\n", to);
        beam_figure_ramp(to, from, 't', 0, LEVELS - 1, until);
        fputs("<p class=\"text\">", to);
        print_spread(to, &s, lo, hi);
        fputs("</p>\n</div>\n", to);
    }
    free(s.byte);
    free(s.kept);
    return status;
}

beam_status beam_report_texts(const beam_report *r, FILE *to)
{
    int texts = 0, drawn = 0;
    for (int i = 0; i < r->evals; i++)
        texts += r->eval[i].result.sample.n > 0;
    if (texts == 0)
        return BEAM_OK;
    fputs("<h2>Experts kept, token by token</h2>\n<p>A piece of the evaluated text. The stronger the colour, "
          "the "
          "more experts a token keeps (mean over the MoE layers; each model has its own scale).</p>\n",
          to);
    for (int i = 0; i < r->evals; i++) {
        if (r->eval[i].result.sample.n == 0)
            continue;
        if (drawn++ == SHOWN)
            fprintf(to, "<details class=\"more\"><summary>%d more</summary>\n", texts - SHOWN);
        BEAM_TRY(draw_text(&r->eval[i], to));
    }
    if (drawn > SHOWN)
        fputs("</details>\n", to);
    return BEAM_OK;
}
