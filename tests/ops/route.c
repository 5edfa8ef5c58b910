#include <string.h>

#include "core/rng.h"
#include "ops/cases.h"
#include "support/values.h"

static void fill_experts(beam_tensor expert, const op_shape *s)
{
    const int64_t unused = s->K < s->E ? 1 : 0, ids = s->E + s->nulls - unused;
    for (int64_t i = 0; i < s->T * s->K; i++) {
        const uint64_t token = (uint64_t)(i / s->K), k = (uint64_t)(i % s->K);
        const uint64_t e = beam_random_permute(1, token, k, (uint64_t)ids);
        test_set(expert, i, (double)e + (double)unused);
    }
}

static void fill_keep(const op_fixture *f, beam_tensor keep)
{
    const int64_t T = f->shape.T, K = f->shape.K;
    const int32_t *expert = f->slot[OP_EXPERT].host.data;
    for (int64_t i = 0; i < T * K; i++) {
        bool on = test_uniform("keep", i, 0, 1) < 0.5;
        if (T > 2 && i / K < 2)
            on = i / K == 1;
        on = op_has(f, OP_ALL_ON) || (on && !op_has(f, OP_ALL_OFF));
        test_set(keep, i, on && expert[i] < f->shape.E);
    }
}

/* The plan, straight from its definition: experts in order, kept before dropped, then order of tokens; null
 * experts last. */
static void fill_plan(const op_fixture *f)
{
    const int32_t *expert = f->slot[OP_EXPERT].host.data;
    const uint8_t *keep = f->slot[OP_KEEP].host.data;
    int32_t *row = f->slot[OP_ROW].host.data, *pair = f->slot[OP_PAIR].host.data;
    int32_t *first = f->slot[OP_FIRST].host.data, *kept = f->slot[OP_KEPT_ROWS].host.data;
    int32_t next = 0;
    for (int32_t e = 0; e < f->shape.E; e++) {
        first[e] = next;
        for (int dropped = 0; dropped < 2; dropped++) {
            for (int32_t i = 0; i < f->shape.T * f->shape.K; i++) {
                if (expert[i] != e || (keep[i] != 0) == (dropped != 0))
                    continue;
                row[i] = next;
                pair[next++] = i;
            }
            if (!dropped)
                kept[e] = next - first[e];
        }
    }
    first[f->shape.E] = next;
    for (int32_t i = 0; i < f->shape.T * f->shape.K; i++)
        if (expert[i] >= f->shape.E) {
            row[i] = next;
            pair[next++] = i;
        }
}

static const unsigned plan_slots = 1u << OP_ROW | 1u << OP_PAIR | 1u << OP_FIRST | 1u << OP_KEPT_ROWS;

void op_declare_route(op_fixture *f, unsigned outputs)
{
    const int64_t T = f->shape.T, E = f->shape.E, K = f->shape.K;
    const beam_dtype wide = f->be->wide;
    const beam_tensor expert = op_declare(f, OP_EXPERT, "expert", OP_INPUT, BEAM_I32, BEAM_DIMS(T, K));
    const beam_tensor weight = op_declare(f, OP_WEIGHT, "weight", OP_INPUT, wide, BEAM_DIMS(T, K));
    const beam_tensor logit = op_declare(f, OP_LOGIT, "logit", OP_INPUT, wide, BEAM_DIMS(T, K));
    const beam_tensor gate = op_declare(f, OP_GATE, "gate", OP_INPUT, wide, BEAM_DIMS(T, K));
    const beam_tensor keep = op_declare(f, OP_KEEP, "keep", OP_INPUT, BEAM_U8, BEAM_DIMS(T, K));
    op_declare(f, OP_ROW, "row", OP_INPUT, BEAM_I32, BEAM_DIMS(T, K));
    op_declare(f, OP_PAIR, "pair", OP_INPUT, BEAM_I32, BEAM_DIMS(T * K));
    op_declare(f, OP_FIRST, "first", OP_INPUT, BEAM_I32, BEAM_DIMS(E + 1));
    op_declare(f, OP_KEPT_ROWS, "kept", OP_INPUT, BEAM_I32, BEAM_DIMS(E));
    for (int i = 0; i < OP_OWN; i++)
        if (outputs & 1u << i)
            f->slot[i].role = OP_OUTPUT;
    if (!expert.data)
        return;
    if (!(outputs & 1u << OP_EXPERT))
        fill_experts(expert, &f->shape);
    if (!(outputs & 1u << OP_WEIGHT))
        test_fill_uniform(weight, "weight", 0.05, 1);
    if (!(outputs & 1u << OP_LOGIT))
        test_fill_normal(logit, "logit", 1);
    if (!(outputs & 1u << OP_GATE))
        test_fill_uniform(gate, "gate", 0, 1);
    if (!(outputs & 1u << OP_KEEP))
        fill_keep(f, keep);
    if (!(outputs & plan_slots))
        fill_plan(f);
}

beam_route op_route(const op_fixture *f)
{
    return (beam_route){.expert = f->t[OP_EXPERT],
                        .weight = f->t[OP_WEIGHT],
                        .logit = f->t[OP_LOGIT],
                        .gate = f->t[OP_GATE],
                        .keep = f->t[OP_KEEP],
                        .row = f->t[OP_ROW],
                        .pair = f->t[OP_PAIR],
                        .first = f->t[OP_FIRST],
                        .kept = f->t[OP_KEPT_ROWS]};
}

beam_tensor op_declare_counted(op_fixture *f, int i)
{
    const beam_tensor counted = op_declare(f, i, "counted", OP_INPUT, BEAM_U8, BEAM_DIMS(f->shape.T));
    for (int64_t t = 0; counted.data && t < f->shape.T; t++)
        test_set(counted, t, test_uniform("counted", t, 0, 1) < 0.75);
    return counted;
}

static bool row_used(const op_fixture *f, int64_t r, beam_rows_of used)
{
    const int32_t *pair = f->slot[OP_PAIR].host.data;
    const uint8_t *keep = f->slot[OP_KEEP].host.data;
    return used == BEAM_ROWS_ALL || (keep[pair[r]] != 0) == (used == BEAM_ROWS_KEPT);
}

void op_poison_rows(const op_fixture *f, beam_tensor rows, beam_rows_of used)
{
    const size_t size = beam_bytes(rows) / (size_t)rows.dim[0];
    for (int64_t r = 0; rows.data && r < rows.dim[0]; r++)
        if (!row_used(f, r, used))
            memset((char *)rows.data + (size_t)r * size, TEST_PATTERN, size);
}

int64_t op_rows_used(const op_fixture *f)
{
    int64_t n = 0;
    for (int64_t r = 0; f->slot[OP_PAIR].host.data && r < f->shape.T * f->shape.K; r++)
        n += row_used(f, r, op_rows(f));
    return n;
}
