#include "serve/card.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/quote.h"
#include "data/file.h"

static void write_masked(FILE *f, const beam_model_config *c, const beam_export_options *o)
{
    fprintf(f,
            "A Mixture-of-Experts model with trained expert masks: for every token a mask gate beside each "
            "router\n"
            "decides which of its %lld candidate experts run. ",
            (long long)c->top_k);
    if (isfinite(o->avg_active))
        fprintf(f, "At the end of training %.2f of %lld ran on average.", o->avg_active, (long long)c->top_k);
    fprintf(
        f, "\n\n- base model: `%s`\n- threshold: %g\n- mask gates: %lld layers, `mask_gate.weight`%s%s%s\n\n",
        o->base, c->mask.threshold, (long long)beam_moe_layers(c), c->mask.bias ? ", `mask_gate.bias`" : "",
        c->mask.router_features ? ", `mask_gate.router_scale`, `mask_gate.rank_bias`" : "",
        c->mask.give_back ? ", `mask_gate.dropped_output`" : "");
    fputs("A program that does not know the `expert_mask` block of `config.json` must not run this folder: "
          "without the\n"
          "masks it is another model.",
          f);
    fputs(o->adapter_only ? " The masks alone are here: they go with the base model as it is.\n"
                          : " Evaluate both:\n\n```\nbeam eval --model . --data TOKENS.h5\n"
                            "beam eval --model . --data TOKENS.h5 --masks off\n```\n",
          f);
}

beam_status beam_card_write(const char *folder, beam_model *m, const beam_export_options *o)
{
    char path[1200], *text;
    size_t size;
    const beam_model_config *c = beam_model_config_of(m);
    BEAM_TRY(beam_join_path(path, sizeof path, folder, "README.md"));
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return BEAM_FAIL(BEAM_ENOMEM, "no memory for the model card");
    const bool has_base = beam_folder_exists(o->base); /* else a config.json, filled with random numbers */
    fputs("---\n", f);
    if (has_base) {
        fputs("base_model: ", f);
        beam_print_quoted(f, o->base);
        fprintf(f, "\nbase_model_relation: %s\n", o->adapter_only ? "adapter" : "finetune");
    }
    fprintf(f, "library_name: transformers\npipeline_tag: text-generation\ntags: [moe%s]\n---\n\n",
            c->mask.present ? ", expert-mask, dynamic-routing" : "");
    if (c->mask.present)
        write_masked(f, c, o);
    else if (has_base)
        fprintf(f, "A Mixture-of-Experts language model trained with beam from `%s`.\n", o->base);
    else
        fputs("A Mixture-of-Experts language model trained with beam from random numbers.\n", f);
    fprintf(f, "\nMade with beam %s from `%s`.\n", BEAM_VERSION, o->run);
    const beam_status status = fclose(f) == 0 ? beam_file_write(path, text, size)
                                              : BEAM_FAIL(BEAM_ENOMEM, "no memory for the model card");
    free(text);
    return status;
}
