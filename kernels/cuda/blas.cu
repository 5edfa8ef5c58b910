/* cuBLASLt is not linked: it is 500 MB, and a program without it still works. Rows are its columns, so that C
 * = op(A) op(B) is asked for as C^T = op(B)^T op(A)^T.
 *
 * The same shape always takes the same algorithm, the heuristic's first; those that add up parts of K with
 * atomic additions are excluded. So the same product has the same bits every time, with one version of the
 * library on one kind of device. float32 is computed in float32, never in TF32. */
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/device.cuh"

extern "C" {
#include "core/log.h"
}

constexpr size_t workspace_bytes = 32 << 20; /* at the start of the backend's scratch */
constexpr unsigned slots = 256;

/* What decides about the algorithm. */
struct blas_shape {
    int64_t m, n, k, lda, ldb, ldc; /* as beam_gemm has them */
    int32_t ta, tb, of_ab, of_c;    /* types: beam_dtype */
};

struct blas_plan {
    blas_shape shape;
    bool made, possible;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c; /* a: the library's first factor, which is B */
    cublasLtMatmulAlgo_t algorithm;
};

struct beam_cuda_blas {
    void *library;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    blas_plan plan[slots]; /* by hash; a new shape takes the place of another */

    decltype(&cublasLtCreate) create;
    decltype(&cublasLtDestroy) destroy;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
    decltype(&cublasLtMatmulDescCreate) product_create;
    decltype(&cublasLtMatmulDescDestroy) product_destroy;
    decltype(&cublasLtMatmulDescSetAttribute) product_set;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatmulAlgoGetHeuristic) choose;
    decltype(&cublasLtMatmul) matmul;
};

template <class F> static bool find(const beam_cuda_blas *blas, F &function, const char *name)
{
    void *address = dlsym(blas->library, name);
    static_assert(sizeof address == sizeof function, "functions have addresses");
    memcpy(&function, &address, sizeof function);
    return address != nullptr;
}

static bool find_all(beam_cuda_blas *b)
{
    return find(b, b->create, "cublasLtCreate") && find(b, b->destroy, "cublasLtDestroy") &&
           find(b, b->preference_create, "cublasLtMatmulPreferenceCreate") &&
           find(b, b->preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
           find(b, b->preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
           find(b, b->product_create, "cublasLtMatmulDescCreate") &&
           find(b, b->product_destroy, "cublasLtMatmulDescDestroy") &&
           find(b, b->product_set, "cublasLtMatmulDescSetAttribute") &&
           find(b, b->layout_create, "cublasLtMatrixLayoutCreate") &&
           find(b, b->layout_destroy, "cublasLtMatrixLayoutDestroy") &&
           find(b, b->choose, "cublasLtMatmulAlgoGetHeuristic") && find(b, b->matmul, "cublasLtMatmul");
}

static bool set_up(beam_cuda_blas *b)
{
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; /* of parts, in float, in order */
    return b->create(&b->handle) == CUBLAS_STATUS_SUCCESS &&
           b->preference_create(&b->preference) == CUBLAS_STATUS_SUCCESS &&
           b->preference_set(b->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                             sizeof workspace_bytes) == CUBLAS_STATUS_SUCCESS &&
           b->preference_set(b->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions,
                             sizeof reductions) == CUBLAS_STATUS_SUCCESS;
}

#define QUOTE(x)  QUOTED(x)
#define QUOTED(x) #x

beam_cuda_blas *beam_cuda_blas_open()
{
    const char *wish = getenv("BEAM_CUDA_BLAS"), *const name = "libcublasLt.so." QUOTE(CUBLAS_VER_MAJOR);
    if (wish && strcmp(wish, "0") == 0)
        return nullptr;
    beam_cuda_blas *b = static_cast<beam_cuda_blas *>(calloc(1, sizeof *b));
    if (!b)
        return nullptr;
    b->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (b->library && find_all(b) && set_up(b))
        return b;
    const char *reason = b->library ? "it does not work" : dlerror();
    beam_info("cuda: without cuBLASLt (%s): dense products take beam's own kernels, which are slower",
              reason);
    beam_cuda_blas_close(b);
    return nullptr;
}

/* The library accepts no NULL. */
static void forget(beam_cuda_blas *b, blas_plan *plan)
{
    if (plan->a)
        b->layout_destroy(plan->a);
    if (plan->b)
        b->layout_destroy(plan->b);
    if (plan->c)
        b->layout_destroy(plan->c);
    if (plan->product)
        b->product_destroy(plan->product);
    *plan = blas_plan();
}

void beam_cuda_blas_close(beam_cuda_blas *b)
{
    if (!b)
        return;
    for (blas_plan &plan : b->plan)
        forget(b, &plan);
    if (b->preference)
        b->preference_destroy(b->preference);
    if (b->handle)
        b->destroy(b->handle);
    if (b->library)
        dlclose(b->library);
    free(b);
}

static cudaDataType_t type_of(int32_t dtype)
{
    return dtype == BEAM_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static bool describe(beam_cuda_blas *b, blas_plan *plan)
{
    const blas_shape &s = plan->shape;
    const cublasOperation_t first = s.tb ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = s.ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cudaDataType_t of_ab = type_of(s.of_ab), of_c = type_of(s.of_c);
    const auto size = [](int64_t x) { return static_cast<uint64_t>(x); };
    return b->product_create(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           b->product_set(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first) ==
               CUBLAS_STATUS_SUCCESS &&
           b->product_set(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second) ==
               CUBLAS_STATUS_SUCCESS &&
           b->layout_create(&plan->a, of_ab, size(s.tb ? s.k : s.n), size(s.tb ? s.n : s.k), s.ldb) ==
               CUBLAS_STATUS_SUCCESS &&
           b->layout_create(&plan->b, of_ab, size(s.ta ? s.m : s.k), size(s.ta ? s.k : s.m), s.lda) ==
               CUBLAS_STATUS_SUCCESS &&
           b->layout_create(&plan->c, of_c, size(s.n), size(s.m), s.ldc) == CUBLAS_STATUS_SUCCESS;
}

static bool make(beam_cuda_blas *b, blas_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    if (!describe(b, plan) ||
        b->choose(b->handle, plan->product, plan->a, plan->b, plan->c, plan->c, b->preference, 1, &found,
                  &n) != CUBLAS_STATUS_SUCCESS ||
        n == 0 || found.state != CUBLAS_STATUS_SUCCESS)
        return false;
    plan->algorithm = found.algo;
    return true;
}

static unsigned hash(const blas_shape &s)
{
    uint64_t h = 0;
    for (const int64_t x : {s.m, s.n, s.k, s.lda, s.ldb, s.ldc, static_cast<int64_t>(s.ta) * 2 + s.tb,
                            static_cast<int64_t>(s.of_ab) * 64 + s.of_c})
        h = (h ^ static_cast<uint64_t>(x)) * 0x9e3779b97f4a7c15u, h ^= h >> 32;
    return static_cast<unsigned>(h % slots);
}

static const blas_plan *plan_for(beam_cuda_blas *b, const blas_shape &s)
{
    blas_plan *plan = &b->plan[hash(s)];
    if (!plan->made || memcmp(&plan->shape, &s, sizeof s) != 0) {
        forget(b, plan);
        plan->shape = s;
        plan->made = true;
        plan->possible = make(b, plan);
    }
    return plan;
}

static bool is_aligned_to_16(beam_tensor t, int64_t row)
{
    return row * static_cast<int64_t>(beam_dtype_size(t.dtype)) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
}

bool beam_cuda_blas_gemm(beam_backend *be, beam_tensor c, beam_tensor a, bool ta, beam_tensor b, bool tb,
                         double alpha, double beta)
{
    const beam_cuda_impl *impl = static_cast<beam_cuda_impl *>(be->impl);
    beam_cuda_blas *blas = static_cast<beam_cuda_blas *>(impl->blas);
    const int64_t n = c.dim[c.ndim - 1], m = beam_count(c) / n, lda = a.dim[a.ndim - 1], ldb = b.dim[1];
    const int64_t k = tb ? ldb : b.dim[0];
    if (!blas || k == 0 || a.dtype != b.dtype || (c.dtype != a.dtype && c.dtype != BEAM_F32) ||
        !is_aligned_to_16(c, n) || !is_aligned_to_16(a, lda) || !is_aligned_to_16(b, ldb))
        return false;
    const blas_plan *plan = plan_for(blas, {m, n, k, lda, ldb, n, ta, tb, a.dtype, c.dtype});
    if (!plan->possible)
        return false;
    const float scale = static_cast<float>(alpha), keep = static_cast<float>(beta);
    const cublasStatus_t status =
        blas->matmul(blas->handle, plan->product, &scale, b.data, plan->a, a.data, plan->b, &keep, c.data,
                     plan->c, c.data, plan->c, &plan->algorithm, beam_cuda_scratch(be, workspace_bytes),
                     workspace_bytes, static_cast<cudaStream_t>(impl->stream));
    if (status != CUBLAS_STATUS_SUCCESS && !be->status)
        be->status = BEAM_FAIL(BEAM_EDEVICE, "cuda: a product of cuBLASLt failed (status %d)",
                               static_cast<int>(status));
    return true;
}
