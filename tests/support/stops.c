#include "support/stops.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/status.h"

bool test_stops(void (*f)(void *context), void *context)
{
    fflush(NULL);
    const pid_t child = fork();
    BEAM_ASSERT(child >= 0);
    if (child == 0) {
        const struct rlimit no_core_file = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core_file);
        const int nowhere = open("/dev/null", O_WRONLY);
        dup2(nowhere, STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        f(context);
        _exit(0);
    }
    int status = 0;
    BEAM_ASSERT(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
