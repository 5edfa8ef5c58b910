/* beam train: fine-tunes as configured. */
#include "cli/args.h"
#include "cli/dry_run.h"
#include "cli/job.h"
#include "cli/verbs.h"
#include "train/run.h"

typedef struct {
    int64_t stop_after;
    bool dry_run;
    double tokens_per_s;
} request;

/* What this rank can read by itself. */
static beam_status load(const beam_args *rest, const request *r, beam_config *config, char ***origins)
{
    if (r->stop_after < 0)
        return BEAM_FAIL(BEAM_ECONFIG, "--stop-after %lld: expected a number of steps",
                         (long long)r->stop_after);
    if (!(r->tokens_per_s >= 0) || (r->tokens_per_s > 0 && !r->dry_run))
        return BEAM_FAIL(BEAM_ECONFIG, "--tokens-per-s takes a positive number, with --dry-run");
    BEAM_TRY(beam_config_load(rest->at[0], (const char *const *)rest->at + 1, rest->n - 1, config, origins));
    return config->output_dir[0]
               ? BEAM_OK
               : BEAM_FAIL(BEAM_ECONFIG, "%s: output_dir is missing; say where the run's files go",
                           rest->at[0]);
}

beam_status beam_verb_train(int argc, char **argv)
{
    request r = {0};
    const beam_option options[] = {
        {"stop-after", BEAM_INT, &r.stop_after, "N",
         "save and stop after N steps, as a signal would (exit code 7)"},
        {"dry-run", BEAM_FLAG, &r.dry_run, NULL,
         "only say what the run would do and take; nothing is written"},
        {"tokens-per-s", BEAM_REAL, &r.tokens_per_s, "R",
         "with --dry-run: the rate that its time is computed from"},
    };
    const beam_command command = {
        .synopsis = "train CONFIG [key=value ...]",
        .about =
            "Fine-tunes the mask gates of a model (trainable: masks), these and its routers\n"
            "(masks+router), or all its weights (all).\n"
            "Resumes by itself from the newest complete checkpoint in output_dir, bit for bit. SIGUSR1,\n"
            "SIGTERM, Ctrl-C and a closed terminal save a checkpoint and stop with exit code 7; the same\n"
            "command goes on.\n"
            "Under mpirun or srun the ranks train together; SIGUSR1 to the launcher stops them.\n\n"
            "output_dir gets config.resolved.yaml, metrics.jsonl (one object per step), TensorBoard's event\n"
            "files (the same numbers), log.0.txt and checkpoint-NNNNNN/ folders.\n\n"
            "--dry-run reads the configuration, config.json, the weights' headers, the token files and\n"
            "output_dir, and prints rows, steps, where the run would start, time, memory and disk. It fails\n"
            "with the message that the run would fail with.",
        .examples = "  beam train configs/tiny-moe-masks.yaml\n"
                    "  beam train configs/tiny-moe-masks.yaml --dry-run --tokens-per-s 2500\n"
                    "  beam train configs/tiny-moe-masks.yaml mask.target_active=2 output_dir=runs/two",
        .options = options,
        .n = sizeof options / sizeof *options,
        .min = 1,
        .overrides = true,
    };
    beam_args rest;
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    beam_comm comm;
    beam_config config;
    char **origins = NULL;
    BEAM_TRY(beam_comm_open(&comm));
    beam_status status = beam_comm_verdict(&comm, load(&rest, &r, &config, &origins));
    if (!status && r.dry_run)
        status = beam_comm_verdict(&comm, comm.rank == 0 ? beam_dry_run(&config, comm.size, r.tokens_per_s)
                                                         : BEAM_OK);
    else if (!status)
        status = beam_train(&config, origins, r.stop_after, &comm);
    beam_config_free_origins(origins);
    return beam_job_end(&comm, "train", status);
}
