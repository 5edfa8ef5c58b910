/* The kernels of a GPU over the table of op cases, in float32 and in bfloat16: against the reference, started
 * from the same rounded numbers, and against themselves, bit for bit. Built twice: as ops.simt, where the
 * kernels run on the processor and the second time with threads and blocks in the opposite order, and as
 * ops.cuda on a device (skipped where there is none).
 *
 * A case that needs an op the backend lacks is skipped. The last test names all that are lacking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/devices.h"
#include "ops/pass.h"
#include "ops/reference.h"

typedef struct {
    const op_case *what;
    beam_dtype real;
    char name[96];
} device_case;

#ifdef BEAM_TEST_SIMT
static bool available(void)
{
    return true;
}

static void open_device(beam_backend *be, beam_dtype real, bool again)
{
    beam_simt_backwards(again);
    assert_int_equal(beam_backend_simt(be, real), BEAM_OK);
}
#else
static bool available(void)
{
    return beam_cuda_devices(NULL, 0) > 0;
}

static void open_device(beam_backend *be, beam_dtype real, bool again)
{
    (void)again;
    if (beam_backend_cuda(be, 0, real) != BEAM_OK)
        fail_msg("%s", beam_last_error());
}
#endif

/* The reference from the numbers of `device`. */
static void compare(const device_case *c, const op_fixture *device, char *image)
{
    beam_backend reference = reference_backend();
    op_fixture expected;
    op_open(&expected, c->what, &reference);
    op_start_like(&expected, device);
    char *want = op_pass(&expected);
    const double tolerance = c->real == BEAM_BF16 ? c->what->tol_bf16 : c->what->tol_f32;
    assert_true(op_agree(device, image, &expected, want, tolerance));
    free(want);
    op_close(&expected);
}

/* Not under AddressSanitizer, which has seen the same accesses in the first pass and takes minutes. */
static void compare_again(const device_case *c, const char *image)
{
#ifdef __SANITIZE_ADDRESS__
    (void)c;
    (void)image;
#else
    beam_backend be;
    open_device(&be, c->real, true);
    op_fixture f;
    op_open(&f, c->what, &be);
    char *again = op_pass(&f);
    assert_int_equal(beam_sync(&be), BEAM_OK);
    assert_memory_equal(again, image, f.host.size);
    free(again);
    op_close(&f);
    beam_backend_close(&be);
#endif
}

static void test_case(void **state)
{
    const device_case *c = *state;
    beam_backend be;
    open_device(&be, c->real, false);
    op_fixture f;
    op_open(&f, c->what, &be);
    char *image = op_pass(&f);
    const bool missing = be.missing != NULL;
    if (!missing) {
        if (beam_sync(&be) != BEAM_OK)
            fail_msg("%s", beam_last_error());
        assert_true(op_unharmed(&f, image));
        compare(c, &f, image);
        compare_again(c, image);
    }
    free(image);
    op_close(&f);
    beam_backend_close(&be);
    if (missing)
        skip();
}

#define OP(name)                                                                                             \
    {                                                                                                        \
#name, offsetof(beam_ops, name)                                                                      \
    }
static const struct {
    const char *name;
    size_t at;
} ops[] = {
    OP(copy),
    OP(add),
    OP(gemm),
    OP(add_bias),
    OP(bias_grad),
    OP(clip),
    OP(clip_grad),
    OP(add_gated),
    OP(add_gated_grad),
    OP(embed),
    OP(embed_grad),
    OP(rmsnorm),
    OP(rmsnorm_grad),
    OP(rope),
    OP(latent_keys),
    OP(latent_keys_grad),
    OP(attention),
    OP(attention_grad),
    OP(swiglu),
    OP(swiglu_grad),
    OP(cross_entropy),
    OP(distill),
    OP(router_topk),
    OP(router_grad),
    OP(router_load),
    OP(gate_open),
    OP(mask_gate),
    OP(mask_gate_grad),
    OP(union_penalty),
    OP(give_back),
    OP(give_back_grad),
    OP(mask_stats),
    OP(route_plan),
    OP(route_gather),
    OP(route_gather_grad),
    OP(route_combine),
    OP(route_weights),
    OP(route_pairs),
    OP(pair_grad),
    OP(grouped_gemm),
    OP(grouped_wgrad),
    OP(expert_peaks),
    OP(adamw),
    OP(sum_squares),
};
enum { OPS = sizeof ops / sizeof ops[0] };

static bool has_op(size_t at)
{
    void (*op)(void);
    memcpy(&op, (const char *)&beam_cuda_ops + at, sizeof op);
    return op != NULL;
}

/* Skipped, not passed, while ops are lacking. */
static void test_every_op(void **state)
{
    (void)state;
    assert_int_equal(OPS, (sizeof(beam_ops) - offsetof(beam_ops, copy)) / sizeof(void (*)(void)));
    int present = 0;
    for (int i = 0; i < OPS; i++)
        present += has_op(ops[i].at);
    printf("%d of %d ops are on this device%s", present, OPS, present < OPS ? "; not:" : "");
    for (int i = 0; i < OPS; i++)
        if (!has_op(ops[i].at))
            printf(" %s", ops[i].name);
    printf("\n");
    if (present < OPS)
        skip();
}

int main(void)
{
    if (!available()) {
        printf("skipped: no CUDA device\n");
        return 77;
    }
    static const beam_dtype reals[] = {BEAM_F32, BEAM_BF16};
    const int n = 2 * op_case_count;
    device_case *cases = calloc((size_t)n, sizeof *cases);
    struct CMUnitTest *tests = calloc((size_t)n + 1, sizeof *tests);
    BEAM_ASSERT(cases && tests);
    for (int i = 0; i < n; i++) {
        device_case *c = &cases[i];
        c->what = &op_cases[i / 2];
        c->real = reals[i % 2];
        snprintf(c->name, sizeof c->name, "%s, %s", c->what->name, beam_dtype_name(c->real));
        tests[i] = (struct CMUnitTest){.name = c->name, .test_func = test_case, .initial_state = c};
    }
    tests[n] = (struct CMUnitTest){.name = "every op", .test_func = test_every_op};
    const int failed = _cmocka_run_group_tests("ops.device", tests, (size_t)n + 1, NULL, NULL);
    free(tests);
    free(cases);
    return failed;
}
