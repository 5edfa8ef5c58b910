/* Controls for the other tests of this build: races that ThreadSanitizer must report, each beside the same
 * work without the race, which it must not.
 *
 * Usage: threads_race counter|vector|product|barrier [apart] */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <omp.h>

#include "kernels/cpu/axpy.h"
#include "kernels/cpu/blas.h"

enum { THREADS = 4, SIDE = 32, N = SIDE * SIDE };

/* Threads write [THREADS, N] numbers: each its own row, or all of them the first. */
static real *place(real *out, bool apart)
{
    return apart ? out + N * omp_get_thread_num() : out;
}

static void counter(real *out, const real *in, bool apart)
{
#pragma omp parallel num_threads(THREADS)
    *place(out, apart) += in[0];
}

/* A loop that becomes vectors, as in most kernels. */
static void vector(real *out, const real *in, bool apart)
{
#pragma omp parallel num_threads(THREADS)
    beam_axpy(place(out, apart), in, 1, N);
}

/* Inside OpenBLAS, which is not instrumented. */
static void product(real *out, const real *in, bool apart)
{
#pragma omp parallel num_threads(THREADS)
    beam_blas_gemm(false, true, SIDE, SIDE, SIDE, 1, in, SIDE, in, SIDE, 0, place(out, apart), SIDE);
}

/* Half of the threads read what the other half has written. */
static void barrier(real *out, const real *in, bool apart)
{
#pragma omp parallel num_threads(THREADS)
    {
#pragma omp for schedule(static) nowait
        for (int i = 0; i < N; i++)
            out[i] = in[i];
        if (apart) {
#pragma omp barrier
        }
#pragma omp for schedule(static)
        for (int i = 0; i < N; i++)
            out[N + i] = out[N - 1 - i];
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(real *out, const real *in, bool apart);
    } cases[] = {{"counter", counter}, {"vector", vector}, {"product", product}, {"barrier", barrier}};
    const bool apart = argc == 3 && !strcmp(argv[2], "apart");
    real *out = calloc((THREADS + 1) * N, sizeof *out);
    int ran = 0;
    for (size_t i = 0; out && argc > 1 && i < sizeof cases / sizeof cases[0]; i++)
        if (!strcmp(argv[1], cases[i].name)) {
            cases[i].run(out, out + THREADS * N, apart);
            ran++;
        }
    free(out);
    return ran == 1 ? 0 : 2;
}
