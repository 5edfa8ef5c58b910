/* One product by OpenBLAS on the calling thread. */
#ifndef BEAM_KERNELS_CPU_BLAS_H
#define BEAM_KERNELS_CPU_BLAS_H

#include <cblas.h>
#include <omp.h>

#include "kernels/cpu/real.h"

#ifdef BEAM_TSAN

/* ThreadSanitizer does not see into OpenBLAS, so it is told: its entry points for ranges, which compilers
 * call. */
void __tsan_read_range(const void *p, unsigned long bytes);
void __tsan_write_range(const void *p, unsigned long bytes);

static inline void beam_blas_touch(void (*touch)(const void *, unsigned long), const real *x, int64_t rows,
                                   int64_t width, int64_t stride)
{
    for (int64_t i = 0; i < rows; i++)
        touch(x + i * stride, (unsigned long)width * sizeof(real));
}

#endif

/* C[m,n] = alpha * op(A) op(B) + beta * C, rows lda, ldb, ldc elements apart. Call it inside a parallel
 * region: OpenBLAS built with OpenMP takes as many threads as the caller's task may start, and setting that
 * number to 1 must not leak out of the region. The other builds obey the number set in beam_backend_cpu. */
static inline void beam_blas_gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, real alpha,
                                  const real *a, int64_t lda, const real *b, int64_t ldb, real beta, real *c,
                                  int64_t ldc)
{
    const enum CBLAS_TRANSPOSE at = ta ? CblasTrans : CblasNoTrans, bt = tb ? CblasTrans : CblasNoTrans;
    omp_set_num_threads(1);
#ifdef BEAM_TSAN
    beam_blas_touch(__tsan_read_range, a, ta ? k : m, ta ? m : k, lda);
    beam_blas_touch(__tsan_read_range, b, tb ? n : k, tb ? k : n, ldb);
    beam_blas_touch(__tsan_write_range, c, m, n, ldc);
#endif
#ifdef BEAM_CPU_DOUBLE
    cblas_dgemm(CblasRowMajor, at, bt, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
#else
    cblas_sgemm(CblasRowMajor, at, bt, (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c,
                (int)ldc);
#endif
}

#endif
