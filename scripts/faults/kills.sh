#!/bin/bash
# SIGKILL to a run that saves after every step, in turn at a random moment and as soon as a save or a removal is seen
# half done: whatever it has reported as saved is found again, and in the end the run has the bits of one that nobody
# killed.
set -eu
. "$(dirname "$0")/common.sh"
kills=$(pick 12 500)

configure run 1
sed -i 's/^save_steps.*/save_steps: 1/; s/^save_total_limit.*/save_total_limit: 2/; s/^grad.*/gradient_accumulation_steps: 1/' \
    run.yaml
export BEAM_LOG=debug

# reported: the last step that the killed process said it had saved.
reported() {
    sed -n 's/^debug: saved step //p' err | tail -n 1
}

saved() {
    grep -qs '^debug: saved' err
}

half_done() {
    compgen -G 'run/checkpoint-*.[to][ml][pd]-*' >/dev/null
}

lost=0 during=0 damaged=0 last=0
for ((k = 0; k < kills; k++)); do
    rm -f err
    "$beam" train run.yaml 2>err &
    job=$!
    await 60 saved || { fail "no save within 60 s"; break; }
    if [ $((k % 2)) -eq 0 ]; then doze 80; else until half_done || gone $job; do :; done; fi
    kill -9 $job
    { wait $job || true; } 2>/dev/null
    from=$(sed -n 's/^resumed from .* at step //p' err)
    [ "${from:-0}" -ge "$last" ] || lost=$((lost + 1))
    last=$(reported)
    damaged=$((damaged + $(grep -c 'passing this checkpoint over' err || true)))
    ! half_done || during=$((during + 1))
done
unset BEAM_LOG
"$beam" train run.yaml --stop-after 1 2>err || [ $? -eq 7 ]
from=$(sed -n 's/^resumed from .* at step //p' err)
[ "$from" -ge "$last" ] || lost=$((lost + 1))
end=$(newest run)
sed 's/^output_dir.*/output_dir: like/; s/^save_steps.*/save_steps: 0/' run.yaml >like.yaml
"$beam" train like.yaml --stop-after "$end" 2>err || [ $? -eq 7 ]

row "kills" "$k"
row "kills that left a save or a removal half done" "$during"
none "checkpoints lost after they were reported" "$lost"
none "damaged checkpoints under a final name" "$damaged"
check "step $end of the killed run is that of the other" steps_like run "$end" like
row "bits of step $end" "those of an undisturbed run"
verdict
