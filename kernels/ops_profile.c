/* The checked front of the ops that look at experts without changing what a model computes. */
#include "kernels/ops.h"
#include "kernels/shape.h"

void beam_expert_peaks(beam_backend *be, beam_tensor peak, beam_tensor rows_out, beam_tensor counted,
                       const beam_route *route, beam_rows_of rows)
{
    if (!BEAM_CAN(be, expert_peaks))
        return;
    const int64_t tokens = route->expert.dim[0], pairs = beam_count(route->expert);
    BEAM_ASSERT(beam_is(route->expert, BEAM_I32, BEAM_DIMS(tokens, route->expert.dim[1])));
    BEAM_ASSERT(beam_is(route->pair, BEAM_I32, BEAM_DIMS(pairs)) && beam_is_grouped(route, peak.dim[0]));
    BEAM_ASSERT(beam_is(peak, BEAM_F64, BEAM_DIMS(peak.dim[0])));
    BEAM_ASSERT(beam_is(rows_out, be->real, BEAM_DIMS(pairs, rows_out.dim[1])));
    BEAM_ASSERT(beam_is(counted, BEAM_U8, BEAM_DIMS(tokens)));
    be->ops->expert_peaks(be, peak, rows_out, counted, route, rows);
}
