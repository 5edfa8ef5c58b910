#!/bin/bash
# What trains: masks alone, masks and routers, everything; beside the base fine-tuned on the same tokens, and with fewer
# candidates from the start.
table=scopes
. "$(dirname "$0")/common.sh"

rule base 8
for target in 3 1; do
    trained masks $target mask.target_active=$target
    trained "masks and routers" $target mask.target_active=$target trainable=masks+router router_aux_loss_coef=0.003
    trained "masks and routers, give-back, teacher" $target mask.target_active=$target trainable=masks+router \
        router_aux_loss_coef=0.003 mask.give_back=true distill.weight=0.5
    trained everything $target mask.target_active=$target trainable=all router_aux_loss_coef=0.003 base_lr_ratio=0.1
    trained "everything, give-back" $target mask.target_active=$target trainable=all router_aux_loss_coef=0.003 \
        base_lr_ratio=0.1 mask.give_back=true
done
trained "everything, one rate" 1 mask.target_active=1 trainable=all router_aux_loss_coef=0.003 learning_rate=5e-4
for k in 8 3 1; do
    trained "no masks, top-k trained" $k mask.mode=off mask.target_active=null trainable=all \
        router_aux_loss_coef=0.003 learning_rate=5e-4 num_experts_per_tok=$k
done
write "What trains"
