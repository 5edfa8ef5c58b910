#include "cli/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "kernels/ops.h"
#include "kernels/version.h"
#include "train/bench.h"
#include "train/config.h"

/* Programs that are not needed but help, and the package that brings them. */
static const struct {
    const char *program, *package, *purpose;
} tools[] = {
    {"h5dump", "hdf5-tools", "to look into checkpoints and token files"},
};

__attribute__((format(printf, 2, 3))) static void advise(beam_machine *m, const char *fmt, ...)
{
    if (m->n_advice == BEAM_MAX_ADVICE)
        return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(m->advice[m->n_advice++], sizeof m->advice[0], fmt, args);
    va_end(args);
}

static void look_at_processor(beam_machine *m)
{
    m->cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    snprintf(m->processor, sizeof m->processor, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[256];
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", m->processor) == 1)
            break;
    fclose(f);
}

static void look_at_disk(beam_machine *m)
{
    struct statvfs disk;
    if (statvfs(".", &disk) == 0)
        m->disk_free = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
}

static bool in_path(const char *program)
{
    const char *path = getenv("PATH");
    char file[4096];
    for (const char *p = path; p && *p; p += strspn(p, ":")) {
        const int n = (int)strcspn(p, ":");
        snprintf(file, sizeof file, "%.*s/%s", n, p, program);
        if (access(file, X_OK) == 0)
            return true;
        p += n;
    }
    return false;
}

/* The best of as many products as fit half a second, after one to warm up. */
static beam_status look_at_kernels(beam_machine *m)
{
    beam_backend be;
    BEAM_TRY(beam_backend_cpu(&be, 0));
    m->threads = be.threads;
    const beam_status s = beam_bench_gemm(&be, &m->sgemm);
    beam_backend_close(&be);
    beam_blas_version(m->blas, sizeof m->blas);
    m->blas_uses_openmp = beam_blas_uses_openmp();
    return s;
}

static void collect_advice(beam_machine *m)
{
    if (!m->blas_uses_openmp)
        advise(m, "this OpenBLAS is not the OpenMP build, so threads may get in each other's way: "
                  "apt-get install -y libopenblas0-openmp");
    if (m->threads < m->cores)
        advise(m, "only %d of %d cores are used; OMP_NUM_THREADS or the processor affinity says so",
               m->threads, m->cores);
    if (m->gpu_driver && !m->gpu_code)
        advise(m,
               "an NVIDIA driver is loaded, but this program was built without GPU kernels: it runs on the "
               "processor");
    for (size_t i = 0; i < sizeof tools / sizeof tools[0]; i++)
        if (!in_path(tools[i].program))
            advise(m, "%s is missing (optional, %s): apt-get install -y %s", tools[i].program,
                   tools[i].purpose, tools[i].package);
}

beam_status beam_machine_look(beam_machine *m)
{
    *m = (beam_machine){.yaml = beam_config_yaml_version()};
    look_at_processor(m);
    beam_host_memory_look("", &m->memory);
    look_at_disk(m);
    beam_data_versions(m->data);
    m->gpu_driver = access("/proc/driver/nvidia/version", R_OK) == 0;
    m->gpu_code = beam_cuda_compiled();
    m->n_gpus = beam_cuda_devices(m->gpu, BEAM_MAX_GPUS);
    m->n_gpus = m->n_gpus < BEAM_MAX_GPUS ? m->n_gpus : BEAM_MAX_GPUS;
    BEAM_TRY(look_at_kernels(m));
    collect_advice(m);
    return BEAM_OK;
}
