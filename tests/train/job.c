#include "train/job.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "data/cmocka_all.h"
#include "data/scratch.h"

enum { PATIENCE = 15 }; /* seconds */

bool job_possible(void)
{
    return getenv("BEAM_MPIRUN") && getenv("BEAM_PROGRAM");
}

static void write_config(const beam_config *c, const char *path)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    beam_config_dump(c, NULL, f);
    assert_int_equal(fclose(f), 0);
}

job job_start(const beam_config *c, int ranks, const char *before)
{
    char config[BEAM_PATH_MAX + 16], script[4 * BEAM_PATH_MAX];
    job j = {.start = beam_seconds()};
    snprintf(config, sizeof config, "%s.yaml", c->output_dir);
    snprintf(j.output, sizeof j.output, "%.900s.out", c->output_dir);
    write_config(c, config);
    const int n = snprintf(script, sizeof script,
                           "exec %s -n %d sh -c 'more=; %s\nexec \"$BEAM_PROGRAM\" train %s $more' >%s 2>&1",
                           getenv("BEAM_MPIRUN"), ranks, before ? before : "", config, j.output);
    assert_in_range(n, 1, sizeof script - 1);
    j.pid = fork();
    assert_true(j.pid >= 0);
    if (j.pid == 0) {
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(127);
    }
    return j;
}

int job_end(job *j)
{
    int status;
    while (waitpid(j->pid, &status, WNOHANG) == 0) {
        if (beam_seconds() - j->start > 2 * PATIENCE) {
            kill(j->pid, SIGTERM);
            fail_msg("the job has not ended");
        }
        usleep(5000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *printed(const beam_config *c)
{
    char path[BEAM_PATH_MAX];
    size_t size;
    snprintf(path, sizeof path, "%.900s.out", c->output_dir);
    return scratch_read(path, &size);
}

void job_expect(const beam_config *c, int ranks, const char *before, int code)
{
    job j = job_start(c, ranks, before);
    const int got = job_end(&j);
    if (got != code)
        fail_msg("%d ranks: exit code %d instead of %d:\n%s", ranks, got, code, printed(c));
}

int job_said(const beam_config *c, const char *text)
{
    char *out = printed(c);
    int n = 0;
    for (const char *at = strstr(out, text); at; at = strstr(at + 1, text))
        n++;
    if (n == 0)
        fail_msg("expected \"%s\" in: %s", text, out);
    free(out);
    return n;
}
