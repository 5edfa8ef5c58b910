#!/bin/bash
# Quality against Avg-K: masks at six targets, the paper's gate, and every baseline.
table=frontier
model=runs/books-moe
. "$(dirname "$0")/common.sh"

rule base 8
for target in 4 3 2 1.5 1 0.7; do
    trained masks $target mask.target_active=$target
done
for target in 2 1.5 1; do
    trained "masks, give-back and teacher" $target mask.target_active=$target mask.give_back=true distill.weight=0.5
done
for target in 1.5 1; do
    trained "masks and routers, give-back, teacher" $target mask.target_active=$target trainable=masks+router \
        router_aux_loss_coef=0.003 mask.give_back=true distill.weight=0.5
    trained everything $target mask.target_active=$target trainable=all router_aux_loss_coef=0.003 base_lr_ratio=0.1
done
for penalty in 0.3 0.9 2.7; do
    trained "paper's gate" "beta $penalty" mask.target_active=null mask.penalty=$penalty mask.init=zero \
        mask.router_features=false mask.penalty_warmup_steps=0
done
for nulls in 16 32 64; do # 5e-4: better than 1.5e-3, and than the masks' 5e-3, which all weights do not bear
    trained "null experts" $nulls mask.mode=off mask.target_active=null null_experts=$nulls num_experts_per_tok=8 \
        trainable=all router_aux_loss_coef=0.01 learning_rate=5e-4
done
for k in 6 5 4 3 2 1; do
    rule top-k $k --top-k $k
    rule "top-k, renormalised" $k --top-k $k --renormalize
done
for pair in "5 7" "4 6" "3 5" "2 4" "1 3"; do
    rule "top-k, anchored" "${pair/ / of }" --top-k "${pair% *}" --anchor "${pair#* }"
done
for p in 0.9 0.8 0.7 0.6 0.5 0.4 0.3; do
    rule top-p $p --top-p $p
done
write "Quality against the experts that run"
