/* Every configuration key, one row each, and how to find a row. */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "train/config_key.h"
#include "train/nearest.h"

#define KEY(member)   .name = #member, .offset = offsetof(beam_config, member)
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define FROM(lo)      RANGE(lo, INFINITY)
#define COUNT         RANGE(0, 1e12)

const beam_key beam_key_table[BEAM_KEYS] = {
    {KEY(model_name_or_path), .group = "Model", .kind = BEAM_KEY_TEXT, .flags = BEAM_KEY_REQUIRED,
     .initial = "", .aliases = "base_model model",
     .help =
         "Folder of a Hugging Face model, or `random:PATH` to start from random weights in the shape that "
         "the config.json at PATH describes."},
    {KEY(trainable), .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS, .choices = "masks masks+router all",
     .initial = "masks",
     .help = "What is trained: the mask gates alone over a frozen base model, these and the base model's "
             "routers, or every parameter."},
    {KEY(backend), .kind = BEAM_KEY_CHOICE, .choices = "auto cpu cuda", .initial = "auto",
     .help = "Where the work runs: the processor (`cpu`) or a GPU (`cuda`). `auto`: a GPU where this machine "
             "has one for every rank and the program has code for it."},
    {KEY(bf16), .kind = BEAM_KEY_CHOICE, .choices = "auto false true", .initial = "auto",
     .help = "`true`: weights and activations in bfloat16 on a GPU; weights that train are kept in float32 "
             "besides. Processors compute in float32 whatever is said here; `true` is accepted with a "
             "warning."},
    {KEY(threads), .kind = BEAM_KEY_INT, RANGE(0, 4096), .initial = "0",
     .help = "Processor threads; 0: all cores. Does not change results."},
    {KEY(gradient_checkpointing), .kind = BEAM_KEY_BOOL, .initial = "false",
     .help =
         "Recompute each layer in the backward pass instead of keeping its activations: less memory, more "
         "time."},
    {KEY(expert_parallel), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(1, 4096), .initial = "1",
     .help =
         "Ranks that share the experts of every layer, each holding an equal part of them; tokens travel "
         "to the experts. It divides the number of ranks and that of experts. Needs `trainable: masks` or "
         "`masks+router`."},
    {KEY(router_aux_loss_coef), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "0",
     .aliases = "moe_aux_loss_coef moe_aux_loss_coeff",
     .help = "Weight of the load-balancing loss of the routers; counts only where the routers train."},

    {KEY(num_experts_per_tok), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(0, 4096),
     .initial = "0",
     .help = "Candidates per token (top-k) in place of those of the model's config.json: the baseline that "
             "trains with fewer. 0: as the model says."},
    {KEY(null_experts), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(0, 4096), .initial = "0",
     .help =
         "Experts that do nothing, added to every router (AdaMoE): the baseline whose tokens run fewer "
         "experts when they choose these. Needs `mask.mode: off`, `trainable: masks+router` or `all`, and "
         "some `router_aux_loss_coef`. Cannot be exported."},

    {KEY(mask.mode), .group = "Masks", .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS,
     .choices = "off on", .initial = "on",
     .help = "`off` trains the model without mask gates: the baseline to compare with."},
    {KEY(mask.init), .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS, .choices = "open zero",
     .initial = "open",
     .help = "How gates start: `open` with the trainable bias `mask.init_bias`, or `zero` as in the paper."},
    {KEY(mask.init_bias), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(-100, 100),
     .initial = "1.0",
     .help = "Bias of the mask logits at the start with `mask.init: open`; larger starts closer to all "
             "experts."},
    {KEY(mask.threshold), .kind = BEAM_KEY_REAL,
     .flags = BEAM_KEY_NUMBERS | BEAM_KEY_ABOVE_MIN | BEAM_KEY_BELOW_MAX, RANGE(0, 1), .initial = "0.5",
     .help = "An expert runs when the sigmoid of its mask logit is at least this."},
    {KEY(mask.penalty), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "0.3",
     .help = "Weight of the penalty on open masks (beta). Not together with `mask.target_active`."},
    {KEY(mask.target_active), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS | BEAM_KEY_ABOVE_MIN,
     RANGE(0, 4096),
     .help =
         "Instead of a fixed `mask.penalty`: hold the average number of experts per token (Avg-K) at this "
         "value."},
    {KEY(mask.target_rate), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS | BEAM_KEY_ABOVE_MIN, FROM(0),
     .initial = "0.1",
     .help =
         "How fast the penalty follows with `mask.target_active`: its change per step and unit of error."},
    {KEY(mask.penalty_warmup_steps), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, COUNT, .initial = "100",
     .help = "The penalty grows linearly from 0 over these optimizer steps; with `mask.target_active` the "
             "goal falls "
             "from the model's top-k to the target over them."},
    {KEY(mask.router_features), .kind = BEAM_KEY_BOOL, .flags = BEAM_KEY_NUMBERS, .initial = "true",
     .help =
         "The gate also sees the router's own score and rank of each candidate; `false` as in the paper."},
    {KEY(mask.token_features), .kind = BEAM_KEY_BOOL, .flags = BEAM_KEY_NUMBERS, .initial = "true",
     .help =
         "The gate sees the token itself; `false` keeps that part of a new gate at zero, and only its bias "
         "and its router terms train: the ablation."},
    {KEY(mask.give_back), .kind = BEAM_KEY_BOOL, .flags = BEAM_KEY_NUMBERS, .initial = "false",
     .help = "A dropped expert gives back a trained vector of its own in place of its output; `false` as in "
             "the paper."},
    {KEY(mask.protect), .kind = BEAM_KEY_TEXT, .flags = BEAM_KEY_NUMBERS, .initial = "none",
     .help =
         "Experts that masks never drop: `none`; `auto` for the super experts that the first training rows "
         "show; or a list `\"layer:expert layer:expert ...\"`. Needs `mask.init: open`."},

    {KEY(mask.penalty_norm), .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS, .choices = "l1 l2",
     .initial = "l1", .help = "What the penalty adds up: the soft masks, or their squares."},
    {KEY(mask.union_penalty), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "0",
     .help =
         "Weight of the share of experts that a group of `mask.union_batch` tokens touches together: what "
         "decoding a batch pays for."},
    {KEY(mask.union_batch), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(1, 65536), .initial = "32",
     .help =
         "Tokens of a group; they stand far apart in the micro-batch. Large groups give no gradient: times "
         "top-k and divided by the number of experts, a few."},
    {KEY(mask.form), .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS, .choices = "hard soft",
     .initial = "hard",
     .help = "`soft` trains with experts weighed by their soft masks: all candidates run. Evaluation and "
             "export are hard."},
    {KEY(mask.temperature), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(1e-3, 100),
     .initial = "1", .help = "Of the soft masks in training: sigmoid(mask logit / temperature)."},
    {KEY(mask.temperature_end), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(1e-3, 100),
     .initial = "1",
     .help =
         "The temperature falls (or grows) to this over the run, by the same factor every step. Other than "
         "1 it needs `mask.threshold: 0.5`: exported masks have no temperature."},

    {KEY(distill.weight), .group = "Self-distillation", .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS,
     RANGE(0, 1), .initial = "0",
     .help = "Share of the loss that is the divergence from the base model's predictions; the targets "
             "have the rest. Needs `trainable: masks`, or `masks+router`; one more forward pass."},
    {KEY(distill.temperature), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(1e-3, 1e3),
     .initial = "1", .help = "Of both distributions; the divergence counts its square times."},

    {KEY(dataset), .group = "Data", .kind = BEAM_KEY_TEXT, .flags = BEAM_KEY_REQUIRED, .initial = "",
     .aliases = "datasets",
     .help = "Token file (.h5) to train on; `beam preprocess` makes one from text, which it also takes from "
             "here."},
    {KEY(eval_dataset), .kind = BEAM_KEY_TEXT, .initial = "",
     .help = "Token file (.h5) to evaluate on; empty: no evaluation."},
    {KEY(cutoff_len), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(2, 1 << 20), .initial = "2048",
     .aliases = "sequence_len max_length max_seq_len", .help = "Tokens per row; longer samples are cut."},
    {KEY(packing), .kind = BEAM_KEY_BOOL, .flags = BEAM_KEY_NUMBERS, .initial = "true",
     .aliases = "sample_packing neat_packing packed",
     .help = "Put several samples into one row; they do not attend to each other."},

    {KEY(per_device_train_batch_size), .group = "Optimization", .kind = BEAM_KEY_INT,
     .flags = BEAM_KEY_NUMBERS, RANGE(1, 65536), .initial = "1", .aliases = "micro_batch_size batch_size",
     .help = "Rows that go through the model at once on each device."},
    {KEY(gradient_accumulation_steps), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, RANGE(1, 1 << 20),
     .initial = "1", .help = "Passes whose gradients make one optimizer step; every token weighs the same."},
    {KEY(learning_rate), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "1e-3",
     .aliases = "lr",
     .help = "Peak learning rate. The default suits mask gates; the base model's parameters want less: "
             "`base_lr_ratio`."},
    {KEY(base_lr_ratio), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "1",
     .help = "The base model's own parameters train at this multiple of `learning_rate`, mask gates at all "
             "of it. With `trainable: all` and 5e-3, 0.1 did well."},
    {KEY(lr_scheduler_type), .kind = BEAM_KEY_CHOICE, .flags = BEAM_KEY_NUMBERS,
     .choices = "constant linear cosine", .initial = "cosine", .aliases = "lr_scheduler",
     .help = "How the learning rate falls after the warm-up."},
    {KEY(min_lr_ratio), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(0, 1), .initial = "0",
     .help = "The schedule ends at this share of `learning_rate`."},
    {KEY(warmup_ratio), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(0, 1), .initial = "0.03",
     .aliases = "lr_warmup_fraction",
     .help = "Share of all steps over which the learning rate grows from 0."},
    {KEY(warmup_steps), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, COUNT, .initial = "0",
     .help = "The same as a number of steps; 0: `warmup_ratio` decides."},
    {KEY(weight_decay), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "0",
     .help = "AdamW's decoupled weight decay."},
    {KEY(adam_beta1), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS | BEAM_KEY_BELOW_MAX, RANGE(0, 1),
     .initial = "0.9", .help = "AdamW's decay of the mean of gradients."},
    {KEY(adam_beta2), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS | BEAM_KEY_BELOW_MAX, RANGE(0, 1),
     .initial = "0.999", .help = "AdamW's decay of the mean of squared gradients."},
    {KEY(adam_epsilon), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS | BEAM_KEY_ABOVE_MIN, RANGE(0, 1),
     .initial = "1e-8", .help = "AdamW's guard against division by zero."},
    {KEY(max_grad_norm), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "1.0",
     .aliases = "clip_grad clip_grad_norm",
     .help = "Gradients whose total norm is larger are scaled down to it; 0: no limit."},
    {KEY(num_train_epochs), .kind = BEAM_KEY_REAL, .flags = BEAM_KEY_NUMBERS, RANGE(0, 1e6), .initial = "1",
     .aliases = "num_epochs epochs",
     .help = "Passes over the data, may be a fraction; counts when `max_steps` is 0."},
    {KEY(max_steps), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, COUNT, .initial = "0",
     .aliases = "train_iters", .help = "Optimizer steps; 0: `num_train_epochs` decides."},
    {KEY(max_skipped_steps), .kind = BEAM_KEY_INT, COUNT, .initial = "10",
     .help =
         "A step with a non-finite loss or gradient is skipped; more than this many in a row end the run."},
    {KEY(seed), .kind = BEAM_KEY_INT, .flags = BEAM_KEY_NUMBERS, FROM(0), .initial = "42",
     .help = "Decides the order of samples and random starting weights."},

    {KEY(output_dir), .group = "Output", .kind = BEAM_KEY_TEXT, .initial = "",
     .help = "Folder of the run: log, metrics, checkpoints. `beam train` needs it."},
    {KEY(report_to), .kind = BEAM_KEY_CHOICE, .choices = "none tensorboard", .initial = "tensorboard",
     .help =
         "Where metrics go besides metrics.jsonl: `tensorboard` writes its event files into `output_dir`."},
    {KEY(logging_steps), .kind = BEAM_KEY_INT, COUNT, .initial = "10",
     .help = "A progress line every so many steps; 0: only at the end."},
    {KEY(eval_steps), .kind = BEAM_KEY_INT, COUNT, .initial = "0",
     .help = "Evaluate every so many steps; 0: only at the end."},
    {KEY(eval_rows), .kind = BEAM_KEY_INT, COUNT, .initial = "0",
     .help = "Rows of `eval_dataset` that an evaluation during training uses; 0: all."},
    {KEY(save_steps), .kind = BEAM_KEY_INT, COUNT, .initial = "500",
     .help = "A checkpoint every so many steps; 0: only at the end."},
    {KEY(save_total_limit), .kind = BEAM_KEY_INT, RANGE(2, 1e6), .initial = "3",
     .help =
         "Newest checkpoints kept; at least 2, so that a damaged one is not the only one. The one with the "
         "least evaluation loss is kept beside them."},
    {KEY(resume_from_checkpoint), .kind = BEAM_KEY_TEXT, .initial = "auto",
     .help =
         "`auto`: the newest complete checkpoint in `output_dir`, if there is one; `none`: start anew; or "
         "a checkpoint folder."},
};

int beam_key_word(const char *words, const char *word)
{
    const size_t n = strlen(word);
    int index = 0;
    for (const char *p = words; p && n > 0 && !strchr(word, ' '); index++) {
        if (strncmp(p, word, n) == 0 && (p[n] == ' ' || p[n] == '\0'))
            return index;
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    return -1;
}

int beam_key_find(const char *name, bool *alias)
{
    *alias = false;
    for (int i = 0; i < BEAM_KEYS; i++) {
        *alias = beam_key_word(beam_key_table[i].aliases, name) >= 0;
        if (*alias || strcmp(beam_key_table[i].name, name) == 0)
            return i;
    }
    return -1;
}

static const char *after_section(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

/* A right name in the wrong section ("penalty" for "mask.penalty") is near too. */
const char *beam_key_nearest(const char *name)
{
    const char *nearest = NULL;
    int best = INT_MAX;
    for (int i = 0; i < BEAM_KEYS; i++) {
        const char *known = beam_key_table[i].name;
        const int whole = beam_word_distance(name, known);
        const int last = beam_word_distance(after_section(name), after_section(known));
        const int distance = last < whole - 1 ? last + 1 : whole;
        if (distance < best) {
            best = distance;
            nearest = known;
        }
    }
    return nearest && beam_word_is_near(best, after_section(name)) ? nearest : NULL;
}

int beam_key_section(const char *name)
{
    const size_t n = strlen(name);
    for (int i = 0; i < BEAM_KEYS; i++)
        if (strncmp(beam_key_table[i].name, name, n) == 0 && beam_key_table[i].name[n] == '.')
            return i;
    return -1;
}
