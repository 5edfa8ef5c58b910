/* Experts that masks never drop (docs/method.md, super experts). A protected expert's gate has a row of zeros
 * and a bias so large that q = 1 and q (1 - q) = 0 exactly: no gradient reaches it, and it needs no other
 * treatment in training, checkpoints, exports or engines. */
#ifndef BEAM_TRAIN_PROTECT_H
#define BEAM_TRAIN_PROTECT_H

#include "model/model.h"
#include "train/config.h"
#include "train/experts.h"

/* The least that "layer:expert " takes is four bytes. */
enum { BEAM_PROTECT_MAX = BEAM_PATH_MAX / 4 };

typedef struct {
    int64_t layer, expert; /* as in the names of tensors */
} beam_expert_place;

/* What mask.protect says. */
typedef struct {
    bool automatic; /* the super experts of a profile; then n = 0 */
    int n;          /* 0: none */
    beam_expert_place at[BEAM_PROTECT_MAX];
} beam_protect;

/* Reads "none", "auto", or "layer:expert layer:expert ..."; BEAM_ECONFIG, with `origin` in front, if the text
 * is none of them or names an expert twice. */
beam_status beam_protect_parse(const char *text, const char *origin, beam_protect *out);

/* The super experts of a profile, the largest peak first; no more than a list has room for. */
void beam_protect_of_profile(const beam_expert_profile *profile, beam_protect *out);

/* Sets the gates of these experts. BEAM_ECONFIG if one of them is no expert of the model, BEAM_EMODEL if the
 * model's gates have no bias. */
beam_status beam_protect_set(beam_model *m, const beam_protect *protect);

/* After a checkpoint was read: BEAM_ECONFIG if the gates in it do not protect all of these. */
beam_status beam_protect_check(beam_model *m, const beam_protect *protect, const char *checkpoint);

#endif
