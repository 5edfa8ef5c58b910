/* Loss and gradients of one batch, for comparing with another framework. */
#ifndef BEAM_TRAIN_GRADS_H
#define BEAM_TRAIN_GRADS_H

#include "data/ids.h"
#include "model/model.h"

/* The loss is L_lm + balance * L_bal + penalty * L_reg (docs/method.md). */
typedef struct {
    double penalty, balance;
} beam_grads_weights;

typedef struct {
    double loss, task_loss, mask_loss, balance_loss; /* task_loss: mean over targets, in nats */
    double avg_active;
    int64_t targets, tokens;
} beam_grads_result;

/* One forward and backward pass over all lines, each a sequence of its own, with the model's present rule.
 * The gradients are left in the model's parameters. The model must train something, and its max_tokens must
 * hold all lines. BEAM_EDATA if no token is a target; `path` is for its message. */
beam_status beam_gradients(beam_model *m, const beam_id_lines *lines, const char *path,
                           const beam_grads_weights *weights, beam_grads_result *out);

/* Writes the gradient of every trainable parameter as f32 under its Hugging Face name, and the members of
 * `r` that are losses or avg_active as f32 [1]. Mask gates are left out if they did not decide. *tensors:
 * their number without the scalars. */
beam_status beam_gradients_write(beam_model *m, const beam_grads_result *r, const char *path,
                                 int64_t *tensors);

#endif
