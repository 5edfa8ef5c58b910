#!/bin/bash
# Each extension on and off.
table=extensions
. "$(dirname "$0")/common.sh"

rule base 8
for target in 3 1.5; do
    at="mask.target_active=$target"
    trained "this project's defaults" $target $at
    trained "without router terms" $target $at mask.router_features=false
    trained "router terms alone" $target $at mask.token_features=false
    trained "zero start" $target $at mask.init=zero
    trained give-back $target $at mask.give_back=true
    trained "teacher, half" $target $at distill.weight=0.5
    trained "teacher alone" $target $at distill.weight=1
    trained "teacher and give-back" $target $at distill.weight=0.5 mask.give_back=true
done
at="mask.target_active=1.5"
trained "super experts protected" 1.5 $at mask.protect=auto
trained "rate 1e-3" 1.5 $at learning_rate=1e-3
trained "router terms alone, rate 1e-3" 1.5 $at mask.token_features=false learning_rate=1e-3
trained "four times the steps" 1.5 $at max_steps=560
trained "router terms alone, four times the steps" 1.5 $at mask.token_features=false max_steps=560
write "Extensions, on and off"
