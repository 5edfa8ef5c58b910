#include "ops/pass.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/compare.h"
#include "support/values.h"

char *op_pass(op_fixture *f)
{
    char *image = malloc(f->host.size);
    BEAM_ASSERT(image);
    f->what->op->run(f);
    if (f->what->op->back)
        f->what->op->back(f);
    op_results(f, image);
    return image;
}

void op_start_like(op_fixture *f, const op_fixture *other)
{
    for (int i = 0; i < OP_SLOTS; i++) {
        const beam_tensor to = f->slot[i].host, from = other->slot[i].host;
        for (int64_t k = 0; f->slot[i].name && k < beam_count(to); k++)
            if (!test_untouched(from, k))
                test_set(to, k, test_get(from, k));
    }
    op_reset(f);
}

static bool is_computed(const op_slot *s)
{
    return s->name && (s->role == OP_OUTPUT || s->role == OP_GRADIENT || s->role == OP_RESULT);
}

static bool slot_agrees(const char *title, beam_tensor got, beam_tensor want, double tolerance, double floor)
{
    const bool exact = got.dtype == BEAM_I32 || got.dtype == BEAM_U8;
    if (getenv("BEAM_TEST_VERBOSE") && !exact) {
        const test_difference d = test_compare(got, want, tolerance, floor);
        printf("%-60s %.1e\n", title, d.max_abs / fmax(d.largest, floor));
    }
    bool ok = test_close(title, got, want, exact ? 0 : tolerance, floor);
    for (int64_t k = 0; ok && k < beam_count(got); k++)
        if (test_untouched(got, k) != test_untouched(want, k)) {
            fprintf(stderr, "%s: element %lld is written on one side only\n", title, (long long)k);
            ok = false;
        }
    return ok;
}

bool op_agree(const op_fixture *got, char *got_image, const op_fixture *want, char *want_image,
              double tolerance)
{
    bool ok = true;
    for (int i = 0; i < OP_SLOTS; i++) {
        if (!is_computed(&got->slot[i]))
            continue;
        char title[128];
        snprintf(title, sizeof title, "%s: %s", got->what->name, got->slot[i].name);
        ok = slot_agrees(title, op_in(got, i, got_image), op_in(want, i, want_image), tolerance,
                         got->what->shape.floor) &&
             ok;
    }
    return ok;
}
