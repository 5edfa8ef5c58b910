#include "cli/opened.h"

#include <string.h>

static beam_status backend_kind(const char *name, beam_backend_kind *out)
{
    static const char *const names[] = {
        [BEAM_BACKEND_AUTO] = "auto", [BEAM_BACKEND_CPU] = "cpu", [BEAM_BACKEND_CUDA] = "cuda"};
    *out = BEAM_BACKEND_AUTO;
    for (int i = 0; name && i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (beam_backend_kind)i;
            return BEAM_OK;
        }
    return name ? BEAM_FAIL(BEAM_ECONFIG, "--backend takes auto, cpu or cuda, not \"%.80s\"", name) : BEAM_OK;
}

beam_status beam_backend_choice_open(const beam_backend_choice *choice, int64_t threads, beam_backend *out)
{
    beam_backend_kind kind;
    BEAM_TRY(backend_kind(choice->name, &kind));
    return beam_open_backend(kind, choice->bf16 ? BEAM_BF16_ON : BEAM_BF16_AUTO, NULL, threads, out);
}

beam_status beam_check_threads(int64_t threads)
{
    if (threads >= 0 && threads <= 4096)
        return BEAM_OK;
    return BEAM_FAIL(BEAM_ECONFIG, "--threads %lld: expected 1 to 4096, or 0 for all cores",
                     (long long)threads);
}

static beam_status check_choice(const beam_model_choice *c)
{
    if (!c->model == !c->run)
        return BEAM_FAIL(BEAM_ECONFIG, "which model? Give --model DIR (a Hugging Face folder)%s",
                         c->model ? " or --run DIR, not both" : " or --run DIR (of beam train)");
    if (c->adapter && !c->model)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--adapter goes with --model DIR, the base model that it was trained on");
    if (c->masks && strcmp(c->masks, "on") != 0 && strcmp(c->masks, "off") != 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--masks takes on or off, not \"%.80s\"", c->masks);
    beam_backend_kind kind;
    BEAM_TRY(backend_kind(c->backend.name, &kind));
    return beam_check_threads(c->threads);
}

beam_status beam_opened_look(beam_opened *o, const beam_model_choice *choice)
{
    *o = (beam_opened){.choice = choice, .name = choice->model};
    BEAM_TRY(check_choice(choice));
    if (choice->run) {
        BEAM_TRY(beam_run_find(choice->run, &o->run));
        const beam_gate_request gates = beam_gate_request_of(&o->run.config);
        BEAM_TRY(beam_model_source_config(o->run.config.model_name_or_path, &gates, &o->config));
        o->name = o->run.checkpoint;
    } else {
        const beam_gate_request gates = {.adapter = choice->adapter};
        BEAM_TRY(beam_model_source_config(choice->model, &gates, &o->config));
    }
    if (choice->masks && strcmp(choice->masks, "on") == 0 && !o->config.mask.present)
        return BEAM_FAIL(BEAM_ECONFIG,
                         "--masks on: %s has no mask gates (no expert_mask block in config.json)", o->name);
    o->masks = o->config.mask.present && !(choice->masks && strcmp(choice->masks, "off") == 0);
    return BEAM_OK;
}

beam_status beam_opened_check_lines(const beam_opened *o, const char *path, const beam_id_lines *lines)
{
    for (int64_t i = 0; i < lines->n; i++)
        if (lines->line[i].n > o->config.max_positions)
            return BEAM_FAIL(BEAM_EDATA, "%s:%ld: %lld ids, but %s has %lld positions", path,
                             lines->line[i].number, (long long)lines->line[i].n, o->name,
                             (long long)o->config.max_positions);
    return BEAM_OK;
}

beam_status beam_opened_load(beam_opened *o, const beam_model_options *options)
{
    enum { RANDOM_SEED = 1 }; /* of random:<config.json>, so that its numbers can be repeated */
    const beam_model_choice *c = o->choice;
    BEAM_TRY(beam_backend_choice_open(&c->backend, c->threads, &o->backend));
    if (c->run) {
        char checkpoint[sizeof o->run.checkpoint]; /* as looked at: there may be a newer one now */
        memcpy(checkpoint, o->run.checkpoint, sizeof checkpoint);
        BEAM_TRY(beam_model_source_run(checkpoint, options->max_tokens, &o->backend, &o->model, &o->run));
    } else {
        const beam_gate_request gates = {.adapter = c->adapter};
        BEAM_TRY(
            beam_model_source_open(c->model, &gates, options, NULL, RANDOM_SEED, &o->backend, &o->model));
    }
    beam_expert_rule rule = beam_model_rule(o->model);
    rule.masks = o->masks;
    beam_model_set_rule(o->model, rule);
    return BEAM_OK;
}

void beam_opened_close(beam_opened *o)
{
    beam_model_close(o->model);
    if (o->backend.ops)
        beam_backend_close(&o->backend);
    o->model = NULL;
}
