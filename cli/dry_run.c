#include "cli/dry_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/forecast.h"
#include "cli/quantity.h"
#include "train/plan.h"

static void print_data(const beam_config *c, const beam_plan *p)
{
    beam_quantity tokens, targets;
    const double room = (double)p->rows * (double)c->cutoff_len;
    printf("\ndata\n");
    beam_forecast_print_line("dataset", "%s: %" PRId64 " rows, %s tokens, %s targets; rows are %.0f %% full",
                             c->dataset, p->rows, beam_quantity_digits(&tokens, p->tokens),
                             beam_quantity_digits(&targets, p->targets), 100 * (double)p->tokens / room);
    if (p->eval_rows > 0)
        beam_forecast_print_line("eval_dataset", "%s: %" PRId64 " rows each time", c->eval_dataset,
                                 p->eval_rows);
}

static void print_steps(const beam_config *c, const beam_plan *p)
{
    const double epochs = (double)p->steps * (double)p->step_rows / (double)p->rows;
    printf("\nrun\n");
    beam_forecast_print_line("steps", "%" PRId64 " of %" PRId64 " rows: %.3g epochs", p->steps, p->step_rows,
                             epochs);
    if (strcmp(p->start, "none") == 0)
        beam_forecast_print_line("begins", "from the start");
    else
        beam_forecast_print_line("goes on", "at step %" PRId64 " of %s", p->done, p->start);
    beam_forecast_print_line("writes", "%s", c->output_dir);
}

static void print_time(const beam_plan *p, double given)
{
    beam_quantity q;
    const double rate = given > 0 ? given : p->tokens_per_s, left = beam_plan_tokens_left(p);
    if (rate > 0)
        beam_forecast_print_line("time", "%s at %.4g tokens/s (%s), without evaluation and saving",
                                 beam_quantity_seconds(&q, left / rate), rate,
                                 given > 0 ? "given" : "the run's last steps");
    else
        beam_forecast_print_line("time", "unknown: `beam estimate CONFIG --measure` times a few steps; "
                                         "--tokens-per-s takes a rate");
}

static void print_disk(const beam_forecast *f, const beam_plan *p)
{
    const uint64_t need = f->estimate.checkpoint * (uint64_t)f->estimate.checkpoints;
    if (p->disk_free == 0)
        return;
    beam_forecast_print_bytes("free for output", (uint64_t)p->disk_free,
                              need > (uint64_t)p->disk_free ? "not enough for the checkpoints" : "");
}

beam_status beam_dry_run(const beam_config *c, int ranks, double tokens_per_s)
{
    beam_plan plan;
    beam_forecast forecast = {.config = *c, .ranks = ranks};
    BEAM_TRY(beam_plan_make(c, ranks, &plan));
    BEAM_TRY(beam_forecast_make(&forecast));
    beam_forecast_print_model(&forecast);
    print_data(c, &plan);
    print_steps(c, &plan);
    print_time(&plan, tokens_per_s);
    beam_forecast_print_memory(&forecast);
    print_disk(&forecast, &plan);
    beam_forecast_print_verdict(&forecast);
    return beam_memory_require(c->model_name_or_path, &forecast.estimate.train, &forecast.machine);
}
