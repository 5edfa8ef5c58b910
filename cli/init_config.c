#include "cli/init.h"

#include <inttypes.h>

#include "cli/quantity.h"
#include "core/quote.h"

static void print_text(FILE *to, const char *key, const char *value, const char *comment)
{
    fprintf(to, "%s: ", key);
    beam_print_quoted(to, value);
    fprintf(to, "%s%s\n", *comment ? " # " : "", comment);
}

static void print_title(const beam_init_facts *x, FILE *to)
{
    beam_quantity parameters, need, room;
    const beam_forecast *f = x->forecast;
    const beam_model_config *m = &f->estimate.model;
    fprintf(to, "# Mask gates for %s (%s): %s parameters, %" PRId64 " of %" PRId64 " experts per token.\n",
            x->name, m->model_type, beam_quantity_short(&parameters, (double)f->estimate.count.total),
            m->top_k, m->experts);
    fprintf(to, "# Training takes %s %s", beam_quantity_bytes(&need, (double)f->estimate.train.total),
            f->estimate.place.device ? "of a GPU's memory" : "of memory");
    if (f->known)
        fprintf(to, "; there %s %s", f->fits ? "are" : "are only",
                beam_quantity_bytes(&room, (double)f->machine.available));
    fputs(".\n#\n"
          "#   beam validate run.yaml           every key with its value, also those that are not here\n"
          "#   beam train run.yaml --dry-run    rows, steps, memory, disk; writes nothing\n"
          "#   beam train run.yaml              or with several processes: the scripts in scripts/launch\n"
          "#   beam validate --reference        what every key means\n\n",
          to);
}

static void print_model(const beam_init_facts *x, FILE *to)
{
    const beam_forecast *f = x->forecast;
    const beam_config *c = &f->config;
    const beam_model_config *m = &f->estimate.model;
    print_text(to, "model_name_or_path", x->model,
               x->there ? "" : "TO FILL IN: the folder with config.json and the safetensors files");
    fputs("trainable: masks # the base model stays as it is; or masks+router, all\n", to);
    if (c->backend != BEAM_BACKEND_AUTO)
        fprintf(to, "backend: %s\n", c->backend == BEAM_BACKEND_CUDA ? "cuda" : "cpu");
    if (c->bf16 == BEAM_BF16_ON)
        fputs("bf16: true # weights and activations on the GPU\n", to);
    fputs("\nmask:\n", to);
    fprintf(to,
            "  target_active: %g # experts per token to end with, of %" PRId64
            "; fewer save more work and cost more quality\n",
            c->mask.target_active, m->top_k);
    fprintf(to,
            "  penalty_warmup_steps: %" PRId64 " # Avg-K is led from %" PRId64 " to the target over these\n",
            c->mask.penalty_warmup_steps, m->top_k);
    fputs("# What kept more quality towards one expert per token, for one more forward pass in a step "
          "(docs/results.md):\n"
          "#   beam train run.yaml trainable=masks+router router_aux_loss_coef=0.003 mask.give_back=true "
          "distill.weight=0.5\n",
          to);
}

static void print_data(const beam_init_facts *x, FILE *to)
{
    enum { BYTES = 259 }; /* vocabulary of byte-level models */
    const beam_forecast *f = x->forecast;
    const beam_config *c = &f->config;
    const beam_model_config *m = &f->estimate.model;
    if (m->vocab_size == BYTES)
        fputs("\n# TO FILL IN: token files. From text:\n"
              "#   beam preprocess corpus.jsonl --out train.h5 --eval-out valid.h5 --eval-fraction 0.01\n",
              to);
    else
        fprintf(to,
                "\n# TO FILL IN: token files with ids of this model's tokenizer (vocabulary of %" PRId64
                "), by scripts/prepare_data.py of beam's sources:\n"
                "#   prepare_data.py --tokenizer MODEL corpus.jsonl --out train.h5 --valid 0.01 --valid-out "
                "valid.h5\n",
                m->vocab_size);
    print_text(to, "dataset", c->dataset, "");
    print_text(to, "eval_dataset", c->eval_dataset, "remove this line if there is none, and eval_steps");
    fprintf(to, "cutoff_len: %" PRId64 " # tokens of a row; the model has %" PRId64 " positions\n",
            c->cutoff_len, m->max_positions);
}

static void print_training(const beam_init_facts *x, FILE *to)
{
    const beam_config *c = &x->forecast->config;
    const int64_t rows = c->per_device_train_batch_size * c->gradient_accumulation_steps;
    fprintf(to, "\nper_device_train_batch_size: %" PRId64 " # rows at a time: what fits\n",
            c->per_device_train_batch_size);
    fprintf(to, "gradient_accumulation_steps: %" PRId64 " # %" PRId64 " rows in a step, on each rank\n",
            c->gradient_accumulation_steps, rows);
    fprintf(to, "gradient_checkpointing: %s\n",
            c->gradient_checkpointing ? "true # less memory, more time"
                                      : "false # true takes less memory, more time");
    fprintf(to, "learning_rate: %g # suits mask gates\n", c->learning_rate);
    fputs("num_train_epochs: 1 # or max_steps\n", to);
    fputs("\n", to);
    print_text(to, "output_dir", c->output_dir, "");
    fputs(
        "logging_steps: 10\neval_steps: 200\neval_rows: 256 # of eval_dataset, each time\nsave_steps: 200\n",
        to);
}

void beam_init_print_config(const beam_init_facts *x, FILE *to)
{
    print_title(x, to);
    print_model(x, to);
    print_data(x, to);
    print_training(x, to);
}
