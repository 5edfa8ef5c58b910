#include "serve/card.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/quote.h"
#include "data/file.h"

typedef struct {
    FILE *f;
    const beam_model_config *config;
    const beam_export_options *options;
    const beam_mask_margins *margins;
    const char *base; /* what it is called; NULL: random numbers */
} card;

/* The base's licence file, which is exported along. */
static beam_status write_licence_file(const card *c)
{
    static const char *const names[] = {"LICENSE", "LICENSE.txt", "LICENSE.md"};
    char path[1200];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        BEAM_TRY(beam_join_path(path, sizeof path, c->options->base, names[i]));
        if (!beam_file_exists(path))
            continue;
        fprintf(c->f, "license: other\nlicense_name: see-license-file\nlicense_link: %s\n", names[i]);
        break;
    }
    return BEAM_OK;
}

/* The lines of the base's model card that name its licence; else its licence file. */
static beam_status write_licence(const card *c)
{
    char path[1200], *text = NULL;
    size_t size;
    bool known = false, copies = false;
    BEAM_TRY(beam_join_path(path, sizeof path, c->options->base, "README.md"));
    if (beam_file_exists(path))
        BEAM_TRY(beam_file_read(path, 16 << 20, &text, &size));
    const bool header = text && strncmp(text, "---\n", 4) == 0;
    for (const char *line = header ? text + 4 : ""; *line && strncmp(line, "---", 3) != 0;) {
        const size_t n = strcspn(line, "\n");
        const bool goes_on = *line == ' ' || *line == '-'; /* a list below its key */
        copies = goes_on ? copies : strncmp(line, "license", 7) == 0;
        if (copies)
            fprintf(c->f, "%.*s\n", (int)n, line);
        known |= copies;
        line += n + (line[n] == '\n');
    }
    free(text);
    return known ? BEAM_OK : write_licence_file(c);
}

static beam_status write_header(const card *c)
{
    fputs("---\n", c->f);
    if (c->base) {
        BEAM_TRY(write_licence(c));
        fputs("base_model: ", c->f);
        beam_print_quoted(c->f, c->base);
        fprintf(c->f, "\nbase_model_relation: %s\n", c->options->adapter_only ? "adapter" : "finetune");
    }
    fprintf(c->f, "library_name: transformers\npipeline_tag: text-generation\ntags: [moe%s]\n---\n\n",
            c->config->mask.present ? ", expert-mask, dynamic-routing, custom_code" : "");
    return BEAM_OK;
}

static void write_row(const card *c, const char *name, const beam_evaluation *e)
{
    fprintf(c->f, "| %s | %.4f | %.2f%% | %.2f of %" PRId64 " | %.1f%% | %.1f%% |\n", name, e->loss,
            100 * e->accuracy, e->avg_active, e->top_k, 100 * e->moe_flops_saved,
            100 * e->accuracy / c->options->eval_base->accuracy);
}

static void write_quality(const card *c)
{
    if (!c->options->eval)
        return;
    const char *data = c->options->eval->data, *slash = strrchr(data, '/');
    fprintf(c->f,
            "\n## Quality\n\nOn the same %" PRId64
            " tokens of `%s`, measured with `beam eval`; retention is the "
            "accuracy over the\nbase's:\n\n"
            "| model | loss | accuracy | Avg-K | MoE FLOPs saved | retention |\n"
            "|---|---|---|---|---|---|\n",
            c->options->eval->targets, slash ? slash + 1 : data);
    write_row(c, "base", c->options->eval_base);
    write_row(c, "this model", c->options->eval);
}

static void write_margins(const card *c)
{
    const beam_mask_margins *m = c->margins;
    if (m->decisions == 0)
        return;
    const double all = (double)m->decisions;
    fprintf(c->f,
            "- of %" PRId64
            " decisions of the self-test, %.2f%% are made within 0.001 of the cutoff, %.2f%% within "
            "0.01,\n  %.2f%% within 0.1: other arithmetic may make those differently\n",
            m->decisions, 100 * (double)m->below[1] / all, 100 * (double)m->below[2] / all,
            100 * (double)m->below[3] / all);
    if (c->options->dtype == BEAM_BF16)
        fprintf(c->f,
                "- rounding the trained tensors to bfloat16 changed %" PRId64
                " of those decisions (%.3f%%), and "
                "log-probabilities by\n  at most %.2g\n",
                m->flipped, 100 * (double)m->flipped / all, m->logprob_moved);
}

static void write_facts(const card *c)
{
    const beam_mask_config *mask = &c->config->mask;
    fprintf(c->f,
            "\n## Masks\n\n- threshold: %g\n- mask gates: %" PRId64 " layers, `mask_gate.weight`%s%s%s\n",
            mask->threshold, beam_moe_layers(c->config), mask->bias ? ", `mask_gate.bias`" : "",
            mask->router_features ? ", `mask_gate.router_scale`, `mask_gate.rank_bias`" : "",
            mask->give_back ? ", `mask_gate.dropped_output`" : "");
    write_margins(c);
}

static const char model_use[] =
    "\n## Use\n\n**Not every program knows masks.** Without them this is another model, which runs all "
    "candidates. "
    "So transformers\nrefuses the folder without `trust_remote_code=True`, and engines refuse the names in "
    "`architectures` and `model_type`\nunless a plugin brings them. Do not rename them to make a program "
    "load it.\n\n"
    "transformers 4.57 or 5:\n\n```python\nfrom transformers import AutoModelForCausalLM\n\n"
    "model = AutoModelForCausalLM.from_pretrained(\"FOLDER\", trust_remote_code=True)\n"
    "print(model.self_test())  # against numbers of the program that made it\n```\n\n"
    "vLLM, with the plugin `vllm_expert_mask` installed:\n\n```\nvllm serve FOLDER\n```\n\n"
    "beam, evaluating with masks and without, and generating:\n\n```\nbeam eval --model FOLDER --data "
    "TOKENS.h5\n"
    "beam eval --model FOLDER --data TOKENS.h5 --masks off\nbeam generate --model FOLDER --prompt "
    "TEXT\n```\n\n"
    "lm-evaluation-harness:\n\n```\nlm_eval --model hf --model_args pretrained=FOLDER,trust_remote_code=True "
    "--tasks TASKS\n```\n";

static const char adapter_use[] =
    "\n## Use\n\nThe masks alone are here: they go with the base model as it is. beam:\n\n```\n"
    "beam eval --model BASE --adapter . --data TOKENS.h5\nbeam generate --model BASE --adapter . --prompt "
    "TEXT\n"
    "```\n\ntransformers 4.57 or 5, in this folder:\n\n```python\nfrom transformers import "
    "AutoModelForCausalLM\n"
    "from modeling_expert_mask import add_masks, self_test\n\n"
    "model = add_masks(AutoModelForCausalLM.from_pretrained(\"BASE\"), \".\")\n"
    "print(self_test(model, \".\"))  # against numbers of the program that made it\n```\n";

static void write_masked(const card *c)
{
    const int64_t k = c->config->top_k;
    fprintf(c->f,
            "A Mixture-of-Experts model with trained expert masks: for every token a mask gate beside each "
            "router\n"
            "decides which of its %" PRId64 " candidate experts run. ",
            k);
    if (isfinite(c->options->avg_active))
        fprintf(c->f, "At the end of training %.2f of %" PRId64 " ran on average.", c->options->avg_active,
                k);
    putc('\n', c->f);
    if (c->base)
        fprintf(c->f, "\nBase model: `%s`.\n", c->base);
    write_quality(c);
    fputs(c->options->adapter_only ? adapter_use : model_use, c->f);
    write_facts(c);
}

static beam_status write(const card *c)
{
    BEAM_TRY(write_header(c));
    if (c->config->mask.present)
        write_masked(c);
    else if (c->base)
        fprintf(c->f, "A Mixture-of-Experts language model trained with beam from `%s`.\n", c->base);
    else
        fputs("A Mixture-of-Experts language model trained with beam from random numbers.\n", c->f);
    fprintf(c->f, "\nMade with beam %s from `%s`.\n", BEAM_VERSION, c->options->run);
    return BEAM_OK;
}

beam_status beam_card_write(const char *folder, beam_model *m, const beam_export_options *options,
                            const beam_mask_margins *margins)
{
    char path[1200], *text;
    size_t size;
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "README.md"));
    card c = {.config = beam_model_config_of(m), .options = options, .margins = margins};
    if (beam_folder_exists(options->base)) /* else a config.json, filled with random numbers */
        c.base = options->base_name ? options->base_name : options->base;
    c.f = open_memstream(&text, &size);
    if (!c.f)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the model card");
    beam_status status = write(&c);
    if (fclose(c.f) != 0 && !status)
        status = BEAM_FAIL(BEAM_ENOMEM, "no memory for the model card");
    if (!status)
        status = beam_file_write(path, text, size);
    free(text);
    return status;
}
