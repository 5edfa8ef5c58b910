/* What each expert does on real tokens, without masks, and which of them a model cannot do without: the
 * super experts of Su et al. 2025, arXiv:2507.23279, which put out numbers larger than all others do. */
#ifndef BEAM_TRAIN_EXPERTS_H
#define BEAM_TRAIN_EXPERTS_H

#include "data/loader.h"
#include "model/model.h"

/* Enough to find the super experts: what makes them stand out happens at the start of every sequence. */
enum { BEAM_PROFILE_TOKENS = 8192 };

typedef struct {
    int64_t layer, expert; /* as in the names of tensors: layers that are dense count too */
    int64_t candidate;     /* tokens that have it among their candidates */
    double weight;         /* mean combine weight over these; 0 without any */
    double peak;           /* largest |number| of E_e(x) over these, before the weight */
    bool super;
} beam_expert_use;

typedef struct {
    int64_t tokens;      /* real ones that were looked at */
    int64_t n;           /* experts of all MoE layers */
    beam_expert_use *at; /* [n] the largest peak first */
    int64_t super;       /* how many; they come first */
} beam_expert_profile;

/* Runs rows [0, limit) of the loader (limit <= 0: one epoch) through the model with its masks off, in
 * micro-batches of `rows_per_batch`, the loader's. The rule and the parameters stay what they were; mask
 * statistics start anew. BEAM_ENUMERIC if an expert's output is not finite. Free the profile. */
beam_status beam_expert_profile_make(beam_model *m, beam_loader *l, int64_t limit, int64_t rows_per_batch,
                                     beam_expert_profile *out);
void beam_expert_profile_free(beam_expert_profile *p);

/* Marks the super experts of a list that is sorted by peak, the largest first, and returns their number.
 * Among the experts that put out anything: peak above the 99.5th percentile and above a tenth of the
 * largest. Of fewer than 200 that percentile says nothing (it lies below the largest, whatever that is):
 * then above ten times the median. */
int64_t beam_super_experts(beam_expert_use *use, int64_t n);

#endif
