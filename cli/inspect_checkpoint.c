/* beam inspect, of a run's checkpoints. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inspect.h"
#include "cli/printer.h"
#include "data/checkpoint.h"
#include "data/checkpoint_folder.h"
#include "data/file.h"
#include "data/hdf5_image.h"
#include "data/manifest.h"

static void print_state(const beam_checkpoint_state *s)
{
    printf("step          %" PRId64 " (%" PRId64 " skipped)\n", s->step, s->skipped);
    printf("seen          %" PRId64 " rows, %" PRId64 " target tokens, %.0f s of training\n", s->rows,
           s->tokens, s->seconds);
    printf("penalty       %g\n", s->penalty);
    if (s->average_active >= 0)
        printf("active        %.3f experts per token and layer (moving average)\n", s->average_active);
    if (s->best_loss >= 0)
        printf("best loss     %.4f on the evaluation set\n", s->best_loss);
    if (s->eval_loss >= 0)
        printf("loss          %.4f there at this step\n", s->eval_loss);
    printf("base model    %s (%016" PRIx64 ")\n", s->model, s->model_hash);
    printf("data hash     %016" PRIx64 "\nconfig hash   %016" PRIx64 "\n", s->data_hash, s->config_hash);
}

static void list_arrays(const beam_h5 *h5)
{
    const char *name;
    beam_tensor t;
    for (int i = 0; i < beam_h5_count(h5); i++) {
        beam_h5_at(h5, i, &name, &t);
        printf("  %-4s [", beam_dtype_name(t.dtype));
        for (int d = 0; d < t.ndim; d++)
            printf("%s%" PRId64, d ? "," : "", t.dim[d]);
        printf("] %s\n", name);
    }
}

static void count_arrays(const beam_h5 *h5, size_t bytes)
{
    const char *name;
    beam_tensor t;
    int64_t values = 0, numbers = 0;
    for (int i = 0; i < beam_h5_count(h5); i++) {
        beam_h5_at(h5, i, &name, &t);
        numbers += beam_count(t);
        values += strncmp(name, "value/", 6) == 0 ? beam_count(t) : 0;
    }
    printf("arrays        %d with %" PRId64 " numbers, %.3f MB on disk; %" PRId64 " trained parameters\n",
           beam_h5_count(h5), numbers, 1e-6 * (double)bytes, values);
}

/* Of state.h5, which has been verified. */
static beam_status print_arrays(const char *folder, bool list)
{
    char path[1200], *image;
    size_t size;
    beam_h5 *h5 = NULL;
    BEAM_TRY(beam_join_path(path, sizeof path, folder, beam_manifest_file_name(BEAM_STATE_H5)));
    BEAM_TRY(beam_file_read(path, SIZE_MAX / 2, &image, &size));
    const beam_status status = beam_h5_open(image, size, path, BEAM_EMODEL, &h5);
    if (!status)
        count_arrays(h5, size);
    if (!status && list)
        list_arrays(h5);
    beam_h5_close(h5);
    free(image);
    return status;
}

beam_status beam_inspect_checkpoint(const char *folder, const beam_inspect_options *o)
{
    if (o->json) {
        char *json;
        BEAM_TRY(beam_checkpoint_describe(folder, &json));
        puts(json);
        free(json);
        return BEAM_OK;
    }
    beam_checkpoint_state state;
    BEAM_TRY(beam_checkpoint_read_state(folder, &state));
    printf("checkpoint    %s (complete, every hash verified)\n", folder);
    print_state(&state);
    return print_arrays(folder, o->tensors);
}

typedef struct {
    const char *folder;
    const beam_inspect_options *options;
    bool first; /* of the list */
    int64_t complete;
} run_printer;

/* What the entry holds, or why it is not complete. */
static beam_status look(const run_printer *r, const beam_checkpoint_entry *e, beam_checkpoint_state *state)
{
    char path[BEAM_CHECKPOINT_PATH];
    beam_manifest m;
    BEAM_TRY(beam_join_path(path, sizeof path, r->folder, e->name));
    if (r->options->verify)
        return beam_checkpoint_read_state(path, state);
    BEAM_TRY(beam_manifest_read(path, &m));
    *state = m.state;
    return BEAM_OK;
}

static void print_line(const beam_checkpoint_entry *e, const beam_checkpoint_state *s)
{
    if (!s) {
        printf("%-20s  not usable: %s\n", e->name, beam_last_error());
        return;
    }
    printf("%-20s  %" PRId64 " target tokens, %.0f s, penalty %.4g", e->name, s->tokens, s->seconds,
           s->penalty);
    if (s->average_active >= 0)
        printf(", active %.3f", s->average_active);
    if (s->eval_loss >= 0)
        printf(", evaluation loss %.4f", s->eval_loss);
    printf("\n");
}

static void put_entry(const beam_checkpoint_entry *e, const beam_checkpoint_state *s)
{
    beam_printer p = beam_print_open(stdout);
    beam_print_text(&p, "name", e->name);
    beam_print_i64(&p, "step", e->step);
    beam_print_bool(&p, "usable", s != NULL);
    if (s) {
        beam_print_i64(&p, "tokens", s->tokens);
        beam_print_f64(&p, "seconds", s->seconds);
        beam_print_f64(&p, "penalty", s->penalty);
        beam_print_f64(&p, "average_active", s->average_active >= 0 ? s->average_active : NAN);
        beam_print_f64(&p, "best_loss", s->best_loss >= 0 ? s->best_loss : NAN);
        beam_print_f64(&p, "eval_loss", s->eval_loss >= 0 ? s->eval_loss : NAN);
    } else {
        beam_print_text(&p, "why", beam_last_error());
    }
    beam_print_close(&p);
}

/* In the text or in the JSON list; counts the complete ones. */
static void print_entry(run_printer *r, const beam_checkpoint_entry *e)
{
    beam_checkpoint_state state;
    const bool good = look(r, e, &state) == BEAM_OK;
    r->complete += good;
    if (r->options->json && !r->first)
        putchar(',');
    r->first = false;
    (r->options->json ? put_entry : print_line)(e, good ? &state : NULL);
}

beam_status beam_inspect_run(const char *folder, const beam_inspect_options *o)
{
    beam_checkpoint_entry *entries;
    int n, in_place = 0;
    BEAM_TRY(beam_checkpoint_list(folder, &entries, &n));
    for (int i = 0; i < n; i++)
        in_place += entries[i].kind == 0;
    if (in_place == 0) {
        free(entries);
        return BEAM_FAIL(BEAM_EMODEL,
                         "%s: holds no config.json (a model), no manifest.json (a checkpoint) and no "
                         "checkpoint folders (a run)",
                         folder);
    }
    run_printer r = {.folder = folder, .options = o, .first = true};
    beam_printer p = {0};
    if (o->json) {
        p = beam_print_open(stdout);
        beam_print_text(&p, "kind", "run");
        beam_print_text(&p, "path", folder);
        beam_print_bool(&p, "verified", o->verify);
        beam_print_key(&p, "checkpoints");
        putchar('[');
    } else {
        printf("run           %s, %d checkpoint%s, newest first\n", folder, in_place,
               in_place == 1 ? "" : "s");
    }
    for (int i = 0; i < n; i++)
        if (entries[i].kind == 0)
            print_entry(&r, &entries[i]);
    if (o->json) {
        putchar(']');
        beam_print_end(&p);
    }
    free(entries);
    if (r.complete < in_place)
        return BEAM_FAIL(BEAM_EMODEL, "%s: %d of %d checkpoints cannot be used", folder,
                         in_place - (int)r.complete, in_place);
    return BEAM_OK;
}
