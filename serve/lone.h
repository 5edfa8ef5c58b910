/* Batch-aware decoding: a pair (token, expert) that is the only reader of its expert in a step costs the
 * memory traffic of a whole expert for one token. Such a lone pair may be dropped, or moved to another
 * candidate of its own token whose expert some other token reads anyway. A token's result then depends on
 * what else is in the step, and differs from the model's: off unless asked for. */
#ifndef BEAM_SERVE_LONE_H
#define BEAM_SERVE_LONE_H

#include "core/status.h"
#include "serve/beam_moe.h"

typedef enum { BEAM_LONE_KEEP, BEAM_LONE_DROP, BEAM_LONE_MOVE } beam_lone_action;

typedef struct {
    beam_lone_action action;
    double share; /* only pairs with less than this part of the weight of all their token's candidates */
} beam_lone_rule;

/* Applies the rule to the pairs of a step, after router and mask: `candidate` and `gain` must be there.
 * Tokens are taken in order, each one's candidates best first, and what was changed counts from then on. A
 * moved pair takes the best candidate that is not running and that others read; it keeps the relation of
 * weight to gain. Where there is none it stays. readers[E] is room. */
void beam_lone_apply(const beam_lone_rule *rule, const beam_moe_pairs *pairs, int64_t tokens, int64_t top_k,
                     int64_t experts, int32_t *readers);

/* "keep", "drop", "move"; BEAM_ECONFIG. */
beam_status beam_lone_read(const char *name, beam_lone_action *out);

#endif
