#include "hostile/refused.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "data/cmocka_all.h"
#include "data/scratch.h"

enum {
    SECONDS = 10, /* of processor time, after which the kernel ends the program */
    TRIES = 3,    /* a busy machine slows the processor down too; the fastest counts */
    OUTPUT_MAX = 1 << 16,
};
static const rlim_t most_memory = (rlim_t)1 << 30; /* address space */
static const double most_seconds = 1, most_mb = 256;

typedef struct {
    int code; /* exit code, or 128 + signal */
    double seconds, mb;
    char *output; /* both streams */
    size_t size;
} outcome;

static struct {
    int files;
    double seconds, mb;
} worst;

/* AddressSanitizer reserves terabytes of address space. */
static bool measured(void)
{
#if defined __SANITIZE_ADDRESS__
    return false;
#else
    return true;
#endif
}

/* malloc that fails shall return, as it does elsewhere. */
static void tame_sanitizers(void)
{
    char options[512];
    const char *given = getenv("ASAN_OPTIONS");
    snprintf(options, sizeof options, "%s%sallocator_may_return_null=1", given ? given : "",
             given ? ":" : "");
    setenv("ASAN_OPTIONS", options, 1);
}

static _Noreturn void become(const char *output, char *const words[])
{
    const int in = open("/dev/null", O_RDONLY), out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const struct rlimit memory = {most_memory, most_memory}, time = {SECONDS, SECONDS}, core = {0, 0};
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    if (measured() && (setrlimit(RLIMIT_AS, &memory) || setrlimit(RLIMIT_CPU, &time)))
        _exit(126);
    setrlimit(RLIMIT_CORE, &core);
    tame_sanitizers();
    execv(words[0], words);
    _exit(127);
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static outcome run(char *const words[])
{
    int status;
    struct rusage usage;
    outcome o = {0};
    const char *output = scratch_path("output");
    const pid_t child = fork();
    if (child == 0)
        become(output, words);
    assert_true(child > 0);
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    o.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    o.seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    o.mb = (double)usage.ru_maxrss / 1024;
    o.output = scratch_read(output, &o.size);
    return o;
}

static bool is_printable(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 127)
            return false;
    return true;
}

static const char *wrong_with(const outcome *o, int code, const char *name, const char *message)
{
    if (o->code != code)
        return "another exit code";
    if (!strstr(o->output, name))
        return "it does not name the file";
    if (!strstr(o->output, message))
        return "it does not say so";
    if (!is_printable(o->output, o->size))
        return "control characters";
    if (code != 0 && o->size > OUTPUT_MAX)
        return "too much output";
    if (measured() && !(o->seconds < most_seconds))
        return "more than a second";
    if (measured() && !(o->mb < most_mb))
        return "more than 256 MB";
    return NULL;
}

void expect_exit(int code, const char *name, const char *message, const char *word, ...)
{
    const char *program = getenv("BEAM_PROGRAM"), *words[REFUSED_WORDS] = {program, word};
    va_list list;
    assert_non_null(program);
    va_start(list, word);
    for (int n = 2; words[n - 1]; n++) {
        assert_true(n < REFUSED_WORDS);
        words[n] = va_arg(list, const char *);
    }
    va_end(list);
    outcome o = run((char *const *)words);
    for (int i = 1; i < TRIES && measured() && !(o.seconds < most_seconds); i++) {
        free(o.output);
        o = run((char *const *)words);
    }
    const char *wrong = wrong_with(&o, code, name, message);
    if (wrong)
        print_message("%s: code %d, %.2f s, %.0f MB; expected code %d, \"%s\" and \"%s\":\n%.2000s\n", wrong,
                      o.code, o.seconds, o.mb, code, name, message, o.output);
    free(o.output);
    assert_null(wrong);
    worst.files++;
    worst.seconds = o.seconds > worst.seconds ? o.seconds : worst.seconds;
    worst.mb = o.mb > worst.mb ? o.mb : worst.mb;
}

void set_environment(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

void print_worst(void)
{
    print_message("hostile files: %d; at most %.2f s and %.0f MB\n", worst.files, worst.seconds, worst.mb);
}

char *repeat(const char *head, const char *part, size_t times, const char *tail)
{
    const size_t first = strlen(head), n = strlen(part);
    char *text = malloc(first + n * times + strlen(tail) + 1), *to = text + first;
    assert_non_null(text);
    memcpy(text, head, first);
    for (size_t i = 0; i < times; i++, to += n)
        memcpy(to, part, n);
    memcpy(to, tail, strlen(tail) + 1);
    return text;
}

const char *write_sparse(const char *name, uint64_t size)
{
    const char *path = scratch_text(name, "");
    assert_int_equal(truncate(path, (off_t)size), 0);
    return path;
}
