/* Failures and signals of one rank among several: all end soon, with its exit code, its number and its
 * message, and the last checkpoint is good. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/tokens.h"
#include "model/load.h"
#include "serve/export.h"
#include "train/job.h"
#include "train/planted.h"
#include "train/source.h"
#include "train/tiny_run.h"

/* What each rank of a job is, for a signal or a limit of its own. */
#define NUMBERED "echo $$ >\"$BEAM_PIDS.$OMPI_COMM_WORLD_RANK\""

static const char *pid_file(const beam_config *c, int rank)
{
    static char path[BEAM_PATH_MAX];
    if (rank < 0)
        snprintf(path, sizeof path, "%.900s.pid", c->output_dir);
    else
        snprintf(path, sizeof path, "%.900s.pid.%d", c->output_dir, rank);
    return path;
}

static off_t metrics_size(const beam_config *c)
{
    char path[BEAM_PATH_MAX + 32];
    struct stat info;
    snprintf(path, sizeof path, "%s/metrics.jsonl", c->output_dir);
    return stat(path, &info) == 0 ? info.st_size : 0;
}

/* Starts a job of two ranks and waits until it has made steps. */
static job start_steps(const beam_config *c)
{
    setenv("BEAM_PIDS", pid_file(c, -1), 1);
    const job j = job_start(c, 2, "trap \"\" XFSZ; " NUMBERED);
    for (int wait = 0; wait < 20000 && metrics_size(c) < 4096; wait++)
        usleep(1000);
    assert_true(metrics_size(c) >= 4096);
    return j;
}

static pid_t pid_of(const beam_config *c, int rank)
{
    size_t size;
    char *text = scratch_read(pid_file(c, rank), &size);
    const pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    assert_true(pid > 1);
    return pid;
}

static const char *const longer[] = {"max_steps=3000", "gradient_accumulation_steps=1", "save_steps=10",
                                     "eval_steps=0", NULL};

/* The run that was broken goes on, as one rank, for a few steps. mpirun may end a moment before the ranks
 * that it has killed. */
static void check_intact(const beam_config *c)
{
    int lock;
    for (int wait = 0; beam_run_lock(c->output_dir, &lock) != BEAM_OK && wait < 500; wait++)
        usleep(10000);
    beam_run_unlock(lock);
    beam_config one = *c;
    one.gradient_accumulation_steps = 2;
    tiny_run_expect(&one, 2, BEAM_STOPPED);
}

static void a_killed_rank(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("killed", longer);
    job j = start_steps(&c);
    assert_int_equal(kill(pid_of(&c, 1), SIGKILL), 0);
    assert_int_not_equal(job_end(&j), 0);
    job_said(&c, "rank 1");
    check_intact(&c);
}

/* Rank 0 may write no more, as if its disk were full. */
static void a_rank_that_cannot_write(void **state)
{
    (void)state;
    char command[96];
    static const char *const keys[] = {"max_steps=3000", "gradient_accumulation_steps=1", "eval_steps=0",
                                       NULL};
    const beam_config c = tiny_run_config("full", keys);
    job j = start_steps(&c);
    snprintf(command, sizeof command, "prlimit --fsize=8192:8192 --pid %d", (int)pid_of(&c, 0));
    assert_int_equal(system(command), 0);
    assert_int_equal(job_end(&j), 5);
    job_said(&c, "rank 0: error: ");
    job_said(&c, "metrics.jsonl: cannot write");
}

/* Rank 0 may write small files, but no checkpoint: all hear of it, and end as one. */
static void a_checkpoint_that_does_not_fit(void **state)
{
    (void)state;
    static const char *const keys[] = {"trainable=all", "save_steps=2", "eval_steps=0", NULL};
    const beam_config c = tiny_run_config("no-room", keys);
    job_expect(&c, 2, "trap \"\" XFSZ; [ $OMPI_COMM_WORLD_RANK = 0 ] && ulimit -f 32", 5);
    assert_int_equal(job_said(&c, "beam train: rank 0: "), 1);
    job_said(&c, "state.h5");
    job_expect(&c, 2, NULL, 0);
}

static void a_signal_stops_all(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("signal", longer);
    job j = start_steps(&c);
    assert_int_equal(kill(pid_of(&c, 1), SIGUSR1), 0); /* one of them is enough */
    assert_int_equal(job_end(&j), 7);
    assert_int_equal(job_said(&c, "stopped at step"), 1);
    check_intact(&c);
}

static void a_bad_file_of_one_rank(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("bad-file", NULL);
    setenv("BEAM_BAD", scratch_text("bad.h5", "no tokens"), 1);
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=dataset=$BEAM_BAD", 3);
    assert_int_equal(job_said(&c, "rank 1: "), 1);
    assert_int_equal(job_said(&c, "bad.h5"), 1);
}

static void ranks_that_disagree(void **state)
{
    (void)state;
    const beam_config c = tiny_run_config("disagree", NULL);
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=learning_rate=0.5", 70);
    assert_int_equal(job_said(&c, "the ranks differ in the configuration"), 1);
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=expert_parallel=2", 70);
    job_said(&c, "the ranks differ in the configuration");
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=--stop-after=2", 70);
    assert_int_equal(job_said(&c, "the ranks differ in --stop-after"), 1);
    job_expect(&c, 2, "[ $OMPI_COMM_WORLD_RANK = 1 ] && more=no_such_key=1", 2);
    assert_int_equal(job_said(&c, "rank 1: command line: unknown key"), 1);
}

/* tiny_run's tokens, where one has the id 40, which no other has. */
static void write_rare_token(const char *path)
{
    beam_tokens t;
    planted_need(beam_tokens_read(scratch_path("tokens.h5"), &t));
    t.vocab = 41;
    t.id[t.tokens / 2] = 40;
    planted_need(beam_tokens_write(path, &t));
    beam_tokens_free(&t);
}

/* A base model in which the embedding of token 40 is not a number. */
static void write_model(const char *folder)
{
    static const char json[] =
        "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \"vocab_size\": 41,\n"
        " \"hidden_size\": 16, \"num_hidden_layers\": 2, \"num_attention_heads\": 2,\n"
        " \"num_key_value_heads\": 1, \"head_dim\": 8, \"moe_intermediate_size\": 8, \"num_experts\": 6,\n"
        " \"num_experts_per_tok\": 3, \"norm_topk_prob\": true, \"initializer_range\": 0.2}\n";
    const beam_model_options options = {.scope = BEAM_SCOPE_NONE, .max_tokens = 1};
    const char *base = scratch_text("rare.json", json);
    char name[BEAM_PATH_MAX];
    float broken[16];
    beam_backend be;
    beam_model *m;
    for (int i = 0; i < 16; i++)
        broken[i] = NAN;
    snprintf(name, sizeof name, "random:%s", base);
    planted_need(beam_backend_cpu(&be, 1));
    planted_need(beam_model_source_open(name, &(beam_gate_request){0}, &options, NULL, 42, &be, &m));
    const beam_param *embed = planted_param(m, "model.embed_tokens.weight");
    planted_need(beam_tensor_set_f32(&be, beam_rows(embed->value, 40, 1), broken));
    const beam_export_options x = {.base = base,
                                   .run = "none",
                                   .out = folder,
                                   .base_trained = true,
                                   .shard_bytes = 1 << 30,
                                   .avg_active = NAN};
    planted_need(beam_export(m, &x, &(beam_mask_margins){0}));
    beam_model_close(m);
    beam_backend_close(&be);
}

/* One micro-batch of the run is not finite: the rank that has it says so, and all skip the step, as one rank
 * does. */
static void a_loss_that_is_not_finite(void **state)
{
    (void)state;
    char model[BEAM_PATH_MAX], dataset[BEAM_PATH_MAX];
    write_rare_token(scratch_path("rare.h5"));
    write_model(scratch_path("rare-model"));
    snprintf(model, sizeof model, "model_name_or_path=%.900s", scratch_path("rare-model"));
    snprintf(dataset, sizeof dataset, "dataset=%.900s", scratch_path("rare.h5"));
    const char *keys[] = {
        model, dataset, "max_steps=0", "num_train_epochs=1", "eval_steps=0", "gradient_accumulation_steps=2",
        NULL};
    const beam_config one = tiny_run_config("rare-one", keys);
    tiny_run_expect(&one, 0, BEAM_OK);
    keys[5] = "gradient_accumulation_steps=1";
    const beam_config two = tiny_run_config("rare-two", keys);
    job_expect(&two, 2, NULL, 0);
    tiny_run_same(&one, &two);
    assert_int_equal(job_said(&two, "the loss of this rank's rows is not finite"), 1);
    assert_int_equal(job_said(&two, "SKIPPED: not finite"), 1);
    job_said(&two, "rank ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_rank),
        cmocka_unit_test(a_rank_that_cannot_write),
        cmocka_unit_test(a_checkpoint_that_does_not_fit),
        cmocka_unit_test(a_signal_stops_all),
        cmocka_unit_test(a_bad_file_of_one_rank),
        cmocka_unit_test(ranks_that_disagree),
        cmocka_unit_test(a_loss_that_is_not_finite),
    };
    return job_possible() ? cmocka_run_group_tests(tests, tiny_run_open, scratch_close) : 77;
}
