/* Which rows go where, and in what order, when the experts of a layer are spread over ranks: integers on the
 * host, made from counts that all ranks know, so that all of them reckon alike. Letters as in
 * kernels/backend.h; P ranks share the E experts in runs of E/P.
 *
 * What rank s sends rank o is a list: for each expert of o its kept rows, then its dropped ones. Round i
 * moves rows [i * most, (i + 1) * most) of every list, so whatever the imbalance, no rank gets more than
 * P * most rows at a time, and no row is left out. */
#ifndef BEAM_MODEL_EXPERT_PLAN_H
#define BEAM_MODEL_EXPERT_PLAN_H

#include <stdint.h>

typedef struct {
    int ranks, rank;      /* P, and which of them this is */
    int64_t experts;      /* E */
    int64_t most;         /* rows of one list in one round */
    const int32_t *count; /* [P][E][2]: kept and dropped rows that each rank sends, of each expert */
    int64_t *list, *next; /* [P] each, scratch */
} beam_expert_plan;

/* Rounds until every list is through. */
int64_t beam_expert_plan_rounds(const beam_expert_plan *p);

/* Rows that `from` sends `to` in a round. */
int64_t beam_expert_plan_part(const beam_expert_plan *p, int from, int to, int64_t round);

/* The rows that this rank sends, one round after the other, each in order of ranks: returns their number n;
 * index[n] = their rows in the grouped order, whose groups begin at first[E] with kept[E] kept rows, and
 * inverse[index[i]] = i. */
int64_t beam_expert_plan_send(const beam_expert_plan *p, const int32_t *first, const int32_t *kept,
                              int32_t *index, int32_t *inverse);

/* The rows that this rank receives in a round, grouped by its own experts, kept ones first, each in order of
 * ranks: returns their number m; index[m] = where they stand among those received, inverse as above;
 * first[E/P + 1], kept[E/P] as in beam_route. */
int64_t beam_expert_plan_receive(const beam_expert_plan *p, int64_t round, int32_t *first, int32_t *kept,
                                 int32_t *index, int32_t *inverse);

#endif
