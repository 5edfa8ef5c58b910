/* What is said to cuDNN is attention: the cases of it in bf16, on the simulated device, with a library in
 * cuDNN's place that computes the graphs it is given (fake_cudnn.c), against the reference. The cases that
 * cuDNN must not be asked for are counted: it ran none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cudnn.h"
#include "ops/pass.h"
#include "ops/reference.h"

static int major; /* of the device */

/* In place of CUDA's. */
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr name, int device)
{
    assert_int_equal(name, cudaDevAttrComputeCapabilityMajor);
    assert_int_equal(device, 0);
    *value = major;
    return cudaSuccess;
}

static int executed(void)
{
    void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_NOLOAD);
    int (*count)(void) = NULL;
    assert_non_null(library);
    void *address = dlsym(library, "fake_cudnn_executed");
    assert_non_null(address);
    memcpy(&count, &address, sizeof count);
    dlclose(library);
    return count();
}

/* Whether cuDNN takes a case: whole sequences, widths in multiples of 8 and at most 256. */
static bool expects_cudnn(const op_shape *s)
{
    const int64_t value_width = s->Dv > 0 ? s->Dv : s->Dh;
    return (s->window == 0 || s->window >= s->T) && s->Dh % 8 == 0 && value_width % 8 == 0;
}

/* How many graphs ran: 2 with the gradient's. */
static int run_case(const op_case *c)
{
    beam_backend be, reference = reference_backend();
    assert_int_equal(beam_backend_simt(&be, BEAM_BF16), BEAM_OK);
    void *cudnn = beam_cuda_cudnn_open(0, NULL);
    assert_non_null(cudnn);
    ((beam_cuda_impl *)be.impl)->cudnn = cudnn;
    const int before = executed();
    op_fixture f, expected;
    op_open(&f, c, &be);
    char *image = op_pass(&f);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    assert_true(op_unharmed(&f, image));
    op_open(&expected, c, &reference);
    op_start_like(&expected, &f);
    char *want = op_pass(&expected);
    if (!op_agree(&f, image, &expected, want, c->tol_bf16))
        fail_msg("%s", c->name);
    const int ran = executed() - before;
    free(want);
    free(image);
    op_close(&expected);
    op_close(&f);
    beam_cuda_cudnn_close(cudnn);
    beam_backend_close(&be);
    return ran;
}

/* Cases of at most so many tokens. Long ones that are beam's own are left to ops.simt. */
static void run_cases(int64_t tokens, int graphs)
{
    enum { SHORT = 11 };
    int taken = 0, own = 0;
    for (int i = 0; i < op_case_count; i++) {
        const op_case *c = &op_cases[i];
        const bool expected = c->op == &op_attention && expects_cudnn(&c->shape);
        if (c->op != &op_attention || c->shape.T > (expected ? tokens : SHORT))
            continue;
        assert_int_equal(run_case(c), expected ? graphs : 0);
        taken += expected;
        own += !expected;
    }
    assert_true(taken >= 2 && own >= 2);
}

static void both_passes_on_hopper(void **state)
{
    (void)state;
    major = 9;
    setenv("FAKE_CUDNN", "92800", 1);
    run_cases(INT64_MAX, 2);
}

/* Beam's own gradient after cuDNN's forward pass. */
static void forward_only_before_9_25(void **state)
{
    (void)state;
    major = 9;
    setenv("FAKE_CUDNN", "91900", 1);
    run_cases(75, 1);
}

static void forward_only_elsewhere(void **state)
{
    (void)state;
    major = 10;
    setenv("FAKE_CUDNN", "92800", 1);
    run_cases(11, 1);
}

static void only_if_asked_for(void **state)
{
    (void)state;
    setenv("FAKE_CUDNN", "91800", 1);
    assert_null(beam_cuda_cudnn_open(0, NULL)); /* too old */
    setenv("FAKE_CUDNN", "92800", 1);
    setenv("BEAM_CUDA_CUDNN", "0", 1);
    assert_null(beam_cuda_cudnn_open(0, NULL));
    unsetenv("BEAM_CUDA_CUDNN");
    assert_null(beam_cuda_cudnn_open(0, NULL));
    setenv("BEAM_CUDA_CUDNN", "1", 1);
}

int main(void)
{
    setenv("BEAM_CUDA_CUDNN", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_passes_on_hopper),
        cmocka_unit_test(forward_only_before_9_25),
        cmocka_unit_test(forward_only_elsewhere),
        cmocka_unit_test(only_if_asked_for),
    };
    return cmocka_run_group_tests_name("ops.cudnn", tests, NULL, NULL);
}
