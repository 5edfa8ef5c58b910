/* What facts about ranks mean: lists of processors, and every warning with and without its cause. */
#include "train/survey.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/cmocka_all.h"

enum { MOST = 8 };

typedef struct {
    beam_rank_facts facts[MOST];
    int n;
    char warning[BEAM_SURVEY_WARNINGS][320];
} job;

static void add(job *j, const char *host, const char *cpus, int threads)
{
    beam_rank_facts *f = &j->facts[j->n++];
    *f = (beam_rank_facts){.mpi = "libmpi.so.40", .device = "cpu", .threads = threads, .program = 7};
    snprintf(f->host, sizeof f->host, "%s", host);
    snprintf(f->cpus, sizeof f->cpus, "%s", cpus);
    beam_survey_cpus(cpus, f->cpu);
}

static int judge(job *j)
{
    memset(j->warning, 0, sizeof j->warning);
    return beam_survey_judge(j->facts, j->n, j->warning);
}

static void expect(job *j, const char *text)
{
    assert_int_equal(judge(j), text ? 1 : 0);
    if (text && !strstr(j->warning[0], text))
        fail_msg("\"%s\" does not say \"%s\"", j->warning[0], text);
}

static void lists(void **state)
{
    uint64_t cpu[BEAM_SURVEY_CPUS / 64];
    (void)state;
    assert_int_equal(beam_survey_cpus("0-3,8,64-65", cpu), 7);
    assert_true(cpu[0] == 0x10f && cpu[1] == 3 && cpu[2] == 0);
    assert_int_equal(beam_survey_cpus("", cpu), 0);
    assert_int_equal(beam_survey_cpus("2046-5000", cpu), 2);
    assert_int_equal(beam_survey_cpus("5", cpu), 1);
    assert_true(cpu[0] == 32 && cpu[1] == 0);
    assert_int_equal(beam_survey_cpus("-1,x", cpu), 0);
}

static void cores(void **state)
{
    (void)state;
    job bound = {.n = 0}, loose = {.n = 0}, crowded = {.n = 0}, mixed = {.n = 0}, crossing = {.n = 0};
    add(&bound, "a", "0-3", 4);
    add(&bound, "a", "4-7", 4);
    add(&bound, "b", "0-3", 4); /* another host's processor 0 is another one */
    expect(&bound, NULL);
    add(&loose, "a", "0-7", 4);
    add(&loose, "a", "0-7", 4);
    expect(&loose, NULL);
    add(&loose, "a", "0-7", 1);
    expect(&loose, "a is oversubscribed: 9 threads of 3 ranks share 8 cores");
    add(&crowded, "a", "0", 2);
    add(&crowded, "a", "1-15", 1);
    expect(&crowded, "2 threads of 1 rank share 1 core.");
    add(&mixed, "a", "0-7", 1); /* enough in all, but two of them sit on one */
    add(&mixed, "a", "3", 1);
    add(&mixed, "a", "3", 1);
    expect(&mixed, "2 threads of 2 ranks share 1 core.");
    add(&crossing, "a", "0-1", 2);
    add(&crossing, "a", "1-2", 2);
    expect(&crossing, "4 threads of 2 ranks share 3 cores");
}

static job two_hosts(void)
{
    job j = {.n = 0};
    add(&j, "a", "0", 1);
    add(&j, "b", "0", 1);
    return j;
}

static void differences(void **state)
{
    (void)state;
    job j = two_hosts();
    expect(&j, NULL);
    j.facts[1].program = 8;
    expect(&j, "rank 1 on b runs another build of beam than rank 0 on a");
    j = two_hosts();
    strcpy(j.facts[1].mpi, "libmpi.so.12");
    expect(&j, "rank 1 on b has loaded libmpi.so.12, rank 0 on a libmpi.so.40");
    j = two_hosts();
    strcpy(j.facts[1].device, "cuda");
    expect(&j, "rank 1 computes on cuda, rank 0 on cpu");
}

static void clocks(void **state)
{
    (void)state;
    job j = two_hosts();
    j.facts[1].clock = -0.9;
    expect(&j, NULL);
    j.facts[1].clock = -12.04;
    expect(&j, "the clock of b is 12.0 s behind that of a");
    j.facts[1].clock_error = 11.5; /* it may be right after all */
    expect(&j, NULL);
    j.facts[1].clock = (double)NAN;
    assert_int_equal(judge(&j), 1);
}

static void many(void **state)
{
    (void)state;
    job j = {.n = 0};
    for (int i = 0; i < MOST; i++)
        add(&j, (char[]){(char)('a' + i), '\0'}, "0", 2);
    j.facts[1].program = 8;
    assert_int_equal(judge(&j), BEAM_SURVEY_WARNINGS); /* one more has no place */
    assert_non_null(strstr(j.warning[0], "another build"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists),  cmocka_unit_test(cores), cmocka_unit_test(differences),
        cmocka_unit_test(clocks), cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
