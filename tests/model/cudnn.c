/* Whether cuDNN has engines for the attention of every published model, on an H200 that is described to it:
 * its support checks need no GPU, only a libcuda.so.1, for which the CUDA toolkit's stub will do. What a card
 * then computes is the business of ops.cuda. Skipped (77) where cuDNN, or the stub, is not installed. */
#include <dlfcn.h>
#include <stdio.h>

#include "data/cmocka_all.h"
#include "kernels/cuda/cudnn_plan.h"
#include "model/families/families.h"

enum { HOPPER = 9 };

static beam_cudnn_shape shape_of(const char *name)
{
    char path[512];
    beam_model_config c;
    snprintf(path, sizeof path, "%s/configs/%s.json", BEAM_TEST_FIXTURES, name);
    if (beam_model_config_read(path, &c) != BEAM_OK)
        fail_msg("%s", beam_last_error());
    return (beam_cudnn_shape){
        .heads = c.heads, .groups = c.kv_heads, .width = c.head_dim, .value_width = c.value_dim};
}

static bool ordered(const beam_cudnn_library *lib)
{
    return lib->version >= BEAM_CUDNN_ORDERED;
}

/* Bytes of workspace, or -1: refused. */
static int64_t plan(const beam_cudnn_library *lib, beam_cudnn_shape s, bool grad)
{
    static beam_cudnn_plan p;
    const bool possible = beam_cudnn_plan_attention(&p, lib, &s, grad);
    const int64_t workspace = possible ? p.workspace : -1;
    beam_cudnn_plan_close(&p);
    return workspace;
}

/* One sequence and many, short rows and long ones. A workspace that grew with the square of the tokens, or
 * with sequences times tokens times width, would be larger than the operands. */
static void accepted(const beam_cudnn_library *lib, const char *name)
{
    static const int64_t sequences[] = {1, 8, 64}, tokens[] = {128, 4096, 32768};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            beam_cudnn_shape s = shape_of(name);
            s.sequences = sequences[i];
            s.tokens = tokens[j];
            const int64_t operands = 2 * s.tokens * s.heads * (s.width + s.value_width);
            const int64_t forward = plan(lib, s, false), backward = plan(lib, s, true);
            if (!(forward >= 0 && forward <= operands))
                fail_msg("%s, %d sequences, %d tokens: forward %lld", name, (int)s.sequences, (int)s.tokens,
                         (long long)forward);
            if (ordered(lib) ? !(backward >= 0 && backward <= operands) : backward >= 0)
                fail_msg("%s, %d sequences, %d tokens: backward %lld", name, (int)s.sequences, (int)s.tokens,
                         (long long)backward);
        }
}

static void published_shapes_are_accepted(void **state)
{
    static const char *const name[] = {"Qwen3-30B-A3B", "Qwen1.5-MoE-A2.7B", "DeepSeek-V2-Lite",
                                       "OLMoE-1B-7B-0125-Instruct", "Mixtral-8x7B-v0.1"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++)
        accepted(*state, name[i]);
}

/* Whatever the version, the graph of the backward pass is one that engines know: cuDNN proposes some. They
 * are not taken, because they do not repeat their bits. */
static void backward_graph_is_known(void **state)
{
    static beam_cudnn_plan p;
    beam_cudnn_shape s = shape_of("DeepSeek-V2-Lite");
    s.sequences = 8;
    s.tokens = 4096;
    assert_true(beam_cudnn_plan_graph(&p, *state, &s, true));
    assert_true(beam_cudnn_plan_propose(&p));
    beam_cudnn_plan_close(&p);
}

/* Heads that are no multiple of 8 numbers. */
static void odd_heads_are_refused(void **state)
{
    const beam_cudnn_shape s = {
        .sequences = 4, .tokens = 1024, .heads = 4, .groups = 2, .width = 12, .value_width = 12};
    assert_true(plan(*state, s, false) < 0);
    assert_true(plan(*state, s, true) < 0);
}

/* An older kind of device has no engine that adds in order. */
static void other_devices_keep_their_backward_pass(void **state)
{
    beam_cudnn_library older = *(const beam_cudnn_library *)*state;
    older.major = 8;
    beam_cudnn_shape s = shape_of("Qwen3-30B-A3B");
    s.sequences = 1;
    s.tokens = 4096;
    assert_true(plan(&older, s, true) < 0);
}

static bool describe(beam_cudnn_library *lib, const char *path)
{
    char text[4096];
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return beam_cudnn_use_description(lib, text, HOPPER);
}

int main(void)
{
    static beam_cudnn_library lib;
    /* cuDNN asks for libcuda.so.1, which is the stub's name too. */
    void *driver = dlopen(BEAM_CUDA_STUB, RTLD_NOW | RTLD_LOCAL);
    const char *missing = driver ? beam_cudnn_load(&lib) : dlerror();
    if (missing) {
        printf("skipped: %s\n", missing);
        return 77;
    }
    printf("cuDNN %zu\n", lib.version);
    int failed = 1;
    if (describe(&lib, BEAM_TEST_FIXTURES "/devices/H200.json")) {
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(published_shapes_are_accepted, &lib),
            cmocka_unit_test_prestate(backward_graph_is_known, &lib),
            cmocka_unit_test_prestate(odd_heads_are_refused, &lib),
            cmocka_unit_test_prestate(other_devices_keep_their_backward_pass, &lib),
        };
        failed = cmocka_run_group_tests_name("model.cudnn", tests, NULL, NULL);
    } else {
        printf("this version wants another description of a device (tests/fixtures/devices)\n");
    }
    beam_cudnn_unload(&lib);
    dlclose(driver);
    return failed;
}
