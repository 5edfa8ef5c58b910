#!/bin/bash
# Stopping and going on: at every split point, on signals at random moments of evaluations, saves and steps, and with
# a second job in the folder. The end is always that of a run that nobody disturbed: parameters, moments, controller,
# counters, losses of every step, and with them the order of samples.
set -eu
. "$(dirname "$0")/common.sh"

# like NAME KEYS...: a masks run with evaluations; its yaml.
experiment() {
    configure "$1" 1
    sed -i 's/^gradient_acc.*/gradient_accumulation_steps: 2/; s/^trainable.*/trainable: masks+router/; s/^save_steps.*/save_steps: 7/' \
        "$1.yaml"
    printf '%s\n' "eval_dataset: data.h5" "eval_steps: 3" "mask:" "  target_active: 1.5" "  penalty_warmup_steps: 5" >>"$1.yaml"
}

# equals RUN LIKE: the end of both.
equals() {
    local step
    step=$(newest "$2")
    losses "$1" >one
    losses "$2" >two
    [ "$(newest "$1")" -eq "$step" ] && steps_like "$1" "$step" "$2" && cmp -s one two
}

splits() {
    local steps points=$1 same=0 at
    steps=$((points + 1))
    experiment whole
    "$beam" train whole.yaml max_steps=$steps 2>/dev/null
    for ((at = 1; at <= points; at++)); do
        rm -rf split
        experiment split
        "$beam" train split.yaml max_steps=$steps --stop-after $at 2>/dev/null || [ $? -eq 7 ]
        "$beam" train split.yaml max_steps=$steps 2>/dev/null
        ! equals split whole || same=$((same + 1))
    done
    all "split points with the bits of the whole run" $same "$points"
}

# Each signal goes to a process that has begun to listen: while it loads, steps, evaluates or saves.
signals() {
    local number=$1 names=(USR1 TERM INT HUP) i job good=0 owed=0
    experiment signals
    sed -i 's/^save_steps.*/save_steps: 2/' signals.yaml
    for ((i = 0; i < number; i++)); do
        "$beam" train signals.yaml 2>err &
        job=$!
        until listens $job || gone $job; do :; done
        doze 150
        kill "-${names[i % 4]}" $job
        ends $job
        if [ $code -eq 7 ] && grep -q "stopped at step $(newest signals) of" err; then
            good=$((good + 1))
        else
            echo "  ${names[i % 4]}: exit code $code"
            cat err
        fi
        "$beam" inspect "$(checkpoint signals "$(newest signals)")" --json >state.json
        [ $(($(newest signals) % 3)) -ne 0 ] || ! grep -q '"eval_loss": -1' state.json || owed=$((owed + 1))
    done
    sed 's/^output_dir.*/output_dir: unsignalled/' signals.yaml >unsignalled.yaml
    "$beam" train signals.yaml --stop-after 1 2>/dev/null || [ $? -eq 7 ]
    "$beam" train unsignalled.yaml --stop-after "$(newest signals)" 2>/dev/null || [ $? -eq 7 ]
    all "signals (USR1, TERM, INT, HUP) that saved and ended with 7" $good "$number"
    row "of these that left out or stopped an evaluation" "$owed"
    check "the signalled run equals the other" equals signals unsignalled
    row "bits after them, at step $(newest signals)" "those of an undisturbed run"
}

# Two jobs start in one folder at once: one works, the other is refused and changes nothing.
second_jobs() {
    local number=$1 i first second loser winner good=0
    experiment shared
    for ((i = 0; i < number; i++)); do
        "$beam" train shared.yaml 2>err1 &
        first=$!
        "$beam" train shared.yaml 2>err2 &
        second=$!
        await 30 eval "gone $first || gone $second" || fail "both jobs run"
        if gone $first; then loser=$first winner=$second; else loser=$second winner=$first; fi
        ends $loser
        [ $code -eq 5 ] && grep -q 'works in this folder already' err1 err2 && good=$((good + 1))
        until listens $winner || gone $winner; do :; done
        kill -USR1 $winner
        ends $winner
        [ $code -eq 7 ] || fail "the job that works ends with $code"
    done
    "$beam" train shared.yaml --stop-after 1 2>/dev/null || [ $? -eq 7 ] # and the evaluation that the last signal left out
    sed 's/^output_dir.*/output_dir: alone/' shared.yaml >alone.yaml
    "$beam" train alone.yaml --stop-after "$(newest shared)" 2>/dev/null || [ $? -eq 7 ]
    all "second jobs that were refused" $good "$number"
    check "what the others did is one run" equals shared alone
}

splits "$(pick 4 20)"
signals "$(pick 8 50)"
second_jobs "$(pick 4 20)"
verdict
