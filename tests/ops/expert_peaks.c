/* The largest number that each expert puts out. */
#include <math.h>

#include "ops/cases.h"
#include "support/values.h"

enum { PEAK = OP_OWN, ROWS_OUT, COUNTED };

static void expert_peaks_build(op_fixture *f)
{
    const op_shape *s = &f->shape;
    op_declare_route(f, 0);
    op_declare_counted(f, COUNTED);
    const beam_tensor rows = op_input(f, ROWS_OUT, "rows_out", 1, BEAM_DIMS(s->T * s->K, s->D));
    for (int64_t r = 0; op_has(f, OP_NAN) && rows.data && r < s->T * s->K; r += 7)
        test_set(rows, r * s->D, r % 2 ? (double)NAN : -(double)INFINITY);
    if (op_has(f, OP_POISON))
        op_poison_rows(f, rows, op_rows(f));
    /* Some of the peaks before stay. */
    const beam_tensor peak = op_declare(f, PEAK, "peak", OP_OUTPUT, BEAM_F64, BEAM_DIMS(s->E));
    test_fill_uniform(peak, "peak", 0, 4);
    f->run.flops = (double)(op_rows_used(f) * s->D);
}

static void expert_peaks_run(op_fixture *f)
{
    const beam_route route = op_route(f);
    beam_expert_peaks(f->be, f->t[PEAK], f->t[ROWS_OUT], f->t[COUNTED], &route, op_rows(f));
}

const op_kind op_expert_peaks = {"expert_peaks", expert_peaks_build, expert_peaks_run, NULL};
