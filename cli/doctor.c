/* beam doctor: what this machine, or all of a job's, has and lacks. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/job.h"
#include "cli/machine.h"
#include "cli/ranks.h"
#include "cli/verbs.h"
#include "core/quote.h"
#include "core/terminal.h"

static void print_text(const beam_machine *m)
{
    char blas[sizeof m->blas + 32];
    const double gb = 1e9;
    printf("beam         %s\n", BEAM_VERSION);
    printf("processor    %s, %d cores, %d threads used\n", m->processor, m->cores, m->threads);
    printf("memory       %.1f GB, %.1f GB available\n", (double)m->memory.total / gb,
           (double)m->memory.available / gb);
    printf("disk         %.1f GB free in the current folder\n", (double)m->disk_free / gb);
    printf("sgemm        %.1f GFLOP/s measured on %d threads\n", m->sgemm / 1e9, m->threads);
    snprintf(blas, sizeof blas, "%s%s", m->blas, m->blas_uses_openmp ? "" : " (not the OpenMP build)");
    beam_print_message(stdout, "openblas     ", "", blas);
    for (int i = 0; i < BEAM_DATA_LIBRARIES; i++)
        printf("%-12s %s\n", m->data[i].library, m->data[i].version);
    printf("libfyaml     %s\n", m->yaml);
    printf("cuda         %s; NVIDIA driver %s\n", m->gpu_code ? "compiled in" : "not compiled in",
           m->gpu_driver ? "loaded" : "not found");
    for (int i = 0; i < m->n_gpus; i++)
        printf("gpu %-8d %s, %.1f GB, %d multiprocessors, sm_%d%d\n", i, m->gpu[i].name,
               (double)m->gpu[i].memory / gb, m->gpu[i].processors, m->gpu[i].major, m->gpu[i].minor);
    for (int i = 0; i < m->n_advice; i++)
        beam_print_message(stdout, i == 0 ? "\n" : "", "note: ", m->advice[i]);
}

static void print_member(const char *name, const char *text)
{
    printf("\"%s\": ", name);
    beam_print_quoted(stdout, text);
    printf(", ");
}

static void print_gpu(const beam_cuda_device *gpu, const char *before)
{
    printf("%s{", before);
    print_member("name", gpu->name);
    printf("\"memory_bytes\": %zu, \"multiprocessors\": %d, \"compute_capability\": \"%d.%d\"}", gpu->memory,
           gpu->processors, gpu->major, gpu->minor);
}

/* `r` is NULL for a process alone. */
static void print_json(const beam_machine *m, const beam_ranks *r)
{
    printf("{");
    print_member("version", BEAM_VERSION);
    print_member("processor", m->processor);
    printf("\"cores\": %d, \"threads\": %d, \"memory_bytes\": %" PRId64
           ", \"memory_available_bytes\": %" PRId64 ", \"disk_free_bytes\": %" PRId64
           ", \"sgemm_gflops\": %.1f, ",
           m->cores, m->threads, m->memory.total, m->memory.available, m->disk_free, m->sgemm / 1e9);
    print_member("openblas", m->blas);
    printf("\"openblas_uses_openmp\": %s, ", m->blas_uses_openmp ? "true" : "false");
    for (int i = 0; i < BEAM_DATA_LIBRARIES; i++)
        print_member(m->data[i].library, m->data[i].version);
    print_member("libfyaml", m->yaml);
    if (r) {
        beam_printer p = {.to = stdout};
        beam_ranks_put(r, &p);
        printf(", ");
    }
    printf("\"cuda_compiled\": %s, \"nvidia_driver\": %s, \"gpus\": [", m->gpu_code ? "true" : "false",
           m->gpu_driver ? "true" : "false");
    for (int i = 0; i < m->n_gpus; i++)
        print_gpu(&m->gpu[i], i > 0 ? ", " : "");
    printf("], \"notes\": [");
    for (int i = 0; i < m->n_advice; i++) {
        printf("%s", i > 0 ? ", " : "");
        beam_print_quoted(stdout, m->advice[i]);
    }
    printf("]}\n");
}

static void print(const beam_machine *m, const beam_ranks *r, bool json)
{
    if (json) {
        print_json(m, r);
        return;
    }
    print_text(m);
    if (r)
        beam_ranks_print(r);
}

/* Rank 0 looks at its machine while the others wait, so that its measurement is not disturbed. */
static beam_status examine(beam_comm *c, beam_ranks *ranks, bool json)
{
    beam_machine machine;
    BEAM_TRY(beam_comm_verdict(c, c->rank == 0 ? beam_machine_look(&machine) : BEAM_OK));
    if (c->size > 1)
        BEAM_TRY(beam_ranks_look(c, ranks));
    if (c->rank == 0)
        print(&machine, c->size > 1 ? ranks : NULL, json);
    return BEAM_OK;
}

beam_status beam_verb_doctor(int argc, char **argv)
{
    bool json = false;
    const beam_option options[] = {{"json", BEAM_FLAG, &json, NULL, "print one JSON object"}};
    const beam_command command = {
        .synopsis = "doctor [--json]",
        .about = "Prints what this machine has: cores, memory, disk, the speed of a matrix product "
                 "(measured), the\n"
                 "libraries in use; and what it lacks, with the apt line that brings it.\n\n"
                 "Under mpirun or srun, rank 0 also prints one table of all ranks: hosts, cores, threads, "
                 "clocks;\n"
                 "the speed of an exchange between them, with every bit checked; and warnings: cores that "
                 "ranks\n"
                 "share, other builds of beam or MPI, clocks that differ.",
        .examples = "  beam doctor\n"
                    "  beam doctor --json\n"
                    "  scripts/launch/one_node.sh -n 4 beam doctor",
        .options = options,
        .n = 1,
    };
    beam_args rest;
    beam_comm comm;
    beam_ranks ranks = {0};
    BEAM_TRY(beam_args_parse(&command, argc, argv, &rest));
    if (rest.help)
        return BEAM_OK;
    BEAM_TRY(beam_comm_open(&comm));
    const beam_status status = beam_job_end(&comm, "doctor", examine(&comm, &ranks, json));
    beam_ranks_free(&ranks);
    return status;
}
