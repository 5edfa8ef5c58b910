/* beam inspect --experts: what each expert does on real tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/inspect.h"
#include "cli/opened.h"
#include "cli/printer.h"
#include "data/file.h"
#include "train/experts.h"

enum { LONGEST = 2048, SHOWN = 20 };

typedef struct {
    const beam_inspect_options *options;
    beam_opened opened;
    beam_loader *loader;
    int64_t sequence, rows;
    beam_expert_profile profile;
} expert_view;

static beam_status open_data(expert_view *v)
{
    const char *data = v->options->data;
    const beam_model_config *c = &v->opened.config;
    v->sequence = c->max_positions < LONGEST ? c->max_positions : LONGEST;
    v->rows = v->options->rows ? v->options->rows : (BEAM_PROFILE_TOKENS - 1) / v->sequence + 1;
    const beam_loader_options options = {.path = data, .sequence = v->sequence, .rows = 1, .packing = true};
    BEAM_TRY(beam_loader_open(&options, &v->loader));
    if (beam_loader_vocab(v->loader) > c->vocab_size)
        return BEAM_FAIL(BEAM_EDATA,
                         "%s: holds token ids up to %" PRId64 ", but the vocabulary of %s has %" PRId64
                         ": the file was made with another tokenizer",
                         data, beam_loader_vocab(v->loader) - 1, v->opened.name, c->vocab_size);
    return BEAM_OK;
}

/* The super experts as mask.protect takes them. */
static void print_protect(const beam_expert_profile *p, FILE *to)
{
    for (int64_t i = 0; i < p->super; i++)
        fprintf(to, "%s%" PRId64 ":%" PRId64, i ? " " : "", p->at[i].layer, p->at[i].expert);
    if (p->super == 0)
        fputs("none", to);
}

static double share(const beam_expert_profile *p, const beam_expert_use *use)
{
    return p->tokens ? (double)use->candidate / (double)p->tokens : 0;
}

static void print_table(const expert_view *v)
{
    const beam_expert_profile *p = &v->profile;
    const int64_t shown = p->super > SHOWN ? p->super : p->n < SHOWN ? p->n : SHOWN;
    printf("experts       %s: %" PRId64 " in %" PRId64 " layers, %" PRId64
           " candidates per token; masks play no part\n",
           v->opened.name, p->n, beam_moe_layers(&v->opened.config), v->opened.config.top_k);
    printf("data          %s, %" PRId64 " tokens in rows of %" PRId64 "\n", v->options->data, p->tokens,
           v->sequence);
    printf("\n  layer expert        peak  of largest  candidate of  mean weight\n");
    for (int64_t i = 0; i < shown; i++) {
        const beam_expert_use *use = &p->at[i];
        printf("%7" PRId64 "%7" PRId64 "%12.4g%10.1f %%%12.2f %%%13.4f%s\n", use->layer, use->expert,
               use->peak, p->at[0].peak > 0 ? 100 * use->peak / p->at[0].peak : 0, 100 * share(p, use),
               use->weight, use->super ? "  super" : "");
    }
    if (shown < p->n)
        printf("    ... %" PRId64 " more (--json has all)\n", p->n - shown);
    printf("\nsuper experts %" PRId64 " of %" PRId64 "; to protect them: mask.protect: \"", p->super, p->n);
    print_protect(p, stdout);
    printf("\"\n");
}

static void print_json(const expert_view *v)
{
    const beam_expert_profile *profile = &v->profile;
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "kind", "experts");
    beam_print_text(&p, "path", v->opened.name);
    beam_print_text(&p, "data", v->options->data);
    beam_print_i64(&p, "tokens", profile->tokens);
    beam_print_i64(&p, "sequence", v->sequence);
    beam_print_i64(&p, "moe_layers", beam_moe_layers(&v->opened.config));
    beam_print_i64(&p, "experts", v->opened.config.experts);
    beam_print_i64(&p, "top_k", v->opened.config.top_k);
    beam_print_i64(&p, "super_experts", profile->super);
    beam_print_key(&p, "protect");
    putchar('"');
    print_protect(profile, stdout);
    putchar('"');
    beam_print_key(&p, "list");
    putchar('[');
    for (int64_t i = 0; i < profile->n; i++) {
        const beam_expert_use *use = &profile->at[i];
        if (i > 0)
            putchar(',');
        beam_printer entry = beam_print_open(stdout);
        beam_print_i64(&entry, "layer", use->layer);
        beam_print_i64(&entry, "expert", use->expert);
        beam_print_f64(&entry, "peak", use->peak);
        beam_print_f64(&entry, "candidate", share(profile, use));
        beam_print_f64(&entry, "weight", use->weight);
        beam_print_bool(&entry, "super", use->super);
        beam_print_close(&entry);
    }
    putchar(']');
    beam_print_end(&p);
}

static beam_status look(expert_view *v, const beam_model_choice *choice)
{
    BEAM_TRY(beam_opened_look(&v->opened, choice));
    BEAM_TRY(open_data(v));
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = v->sequence};
    BEAM_TRY(beam_opened_load(&v->opened, &options));
    BEAM_TRY(beam_expert_profile_make(v->opened.model, v->loader, v->rows, 1, &v->profile));
    (v->options->json ? print_json : print_table)(v);
    return BEAM_OK;
}

static bool is_run(const char *path)
{
    char config[1200];
    return beam_folder_exists(path) &&
           (beam_join_path(config, sizeof config, path, "config.json") != BEAM_OK ||
            !beam_file_exists(config));
}

beam_status beam_inspect_experts(const char *path, const beam_inspect_options *o)
{
    if (!o->data)
        return BEAM_FAIL(BEAM_ECONFIG, "--experts looks at experts on real tokens: give --data FILE, a token "
                                       "file of beam preprocess");
    if (o->rows < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--rows %" PRId64 ": expected at least 1", o->rows);
    const bool run = is_run(path);
    const beam_model_choice choice = {.model = run ? NULL : path, .run = run ? path : NULL};
    expert_view v = {.options = o};
    const beam_status status = look(&v, &choice);
    beam_expert_profile_free(&v.profile);
    beam_loader_close(v.loader);
    beam_opened_close(&v.opened);
    return status;
}
