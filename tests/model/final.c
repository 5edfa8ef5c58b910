/* What other ranks may have before a pass is over: gradients that backward calls final stay what they are;
 * values stand where their gradients do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/tiny_model.h"

typedef struct {
    beam_tensor grads;
    float *early;   /* what each element was when it was called final */
    int64_t before; /* the last call's `from` */
    int calls;
} witness;

static void on_final(void *context, int64_t from)
{
    witness *w = context;
    assert_in_range(from, 0, w->before);
    memcpy(w->early + from, (const float *)w->grads.data + from, (size_t)(w->before - from) * sizeof(float));
    w->before = from;
    w->calls++;
}

static void check(beam_scope scope, bool tied, bool dense_first, bool checkpointing)
{
    beam_backend be;
    tiny_batch b;
    const beam_model_config c = tiny_config(true, tied, dense_first);
    assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
    beam_model *m = tiny_open(&c, scope, checkpointing, &be);
    const beam_tensor grads = beam_model_grads(m);
    const int64_t n = beam_count(grads);
    witness w = {.grads = grads, .early = calloc((size_t)n, sizeof(float)), .before = n};
    assert_non_null(w.early);
    tiny_batch_make(&b);
    beam_model_forward(m, &b.batch, 0.1);
    beam_model_backward(m, &(beam_backward_args){.masks.penalty = 0.01, .final = on_final, .context = &w});
    assert_int_equal(beam_sync(&be), BEAM_OK);
    assert_true(w.before == 0 && w.calls >= 3);
    assert_memory_equal(w.early, grads.data, beam_bytes(grads));
    free(w.early);
    beam_model_close(m);
    beam_backend_close(&be);
}

static void final_gradients_stay(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        check(BEAM_SCOPE_ALL, i & 1, i & 2, i & 4);
        check(BEAM_SCOPE_ROUTERS, i & 1, i & 2, i & 4);
        check(BEAM_SCOPE_MASKS, i & 1, i & 2, i & 4);
    }
}

static void values_stand_as_gradients(void **state)
{
    (void)state;
    static const beam_scope scopes[] = {BEAM_SCOPE_MASKS, BEAM_SCOPE_ROUTERS, BEAM_SCOPE_ALL};
    const beam_model_config c = tiny_config(true, false, true);
    for (int s = 0; s < 3; s++) {
        beam_backend be;
        assert_int_equal(beam_backend_cpu(&be, 1), BEAM_OK);
        beam_model *m = tiny_open(&c, scopes[s], false, &be);
        const beam_tensor grads = beam_model_grads(m), values = beam_model_values(m);
        const beam_params params = beam_model_params(m);
        double sum = 0, block = 0;
        assert_true(beam_same_shape(grads, values));
        for (int i = 0; i < params.n; i++) {
            const beam_param *p = &params.at[i];
            if (!beam_trains(p))
                continue;
            assert_true((char *)p->value.data - (char *)values.data ==
                        (char *)p->grad.data - (char *)grads.data);
            for (int64_t j = 0; j < beam_count(p->value); j++)
                sum += (double)((const float *)p->value.data)[j] * (double)((const float *)p->value.data)[j];
        }
        for (int64_t j = 0; j < beam_count(values); j++) /* nothing else in it: padding is zero */
            block += (double)((const float *)values.data)[j] * (double)((const float *)values.data)[j];
        assert_true(sum > 0 && sum == block);
        beam_model_close(m);
        beam_backend_close(&be);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(final_gradients_stay),
        cmocka_unit_test(values_stand_as_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
