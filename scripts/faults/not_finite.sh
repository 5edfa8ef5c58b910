#!/bin/bash
# Losses and gradients that are not finite. The embedding of one letter is NaN or infinite, so that exactly the rows
# with this letter break a step, on whichever rank they are: the step is skipped on all ranks and counted, and no
# checkpoint ever holds such a value. Then bad rows without an end, and weights that overflow: exit code 6, and only
# good checkpoints.
set -eu
. "$(dirname "$0")/common.sh"
cases=$(pick 2 10) # places of the letter, for each kind of value

# A base whose embedding is a tensor of its own (259 x 16), and its byte offset in the file.
configure base-run 1
"$beam" train base-run.yaml max_steps=1 mask.mode=off 2>/dev/null
"$beam" export --run base-run --out good >/dev/null
header=$(od -An -tu8 -N8 good/model.safetensors | tr -d ' ')
embedding=$(head -c $((header + 8)) good/model.safetensors | tail -c "$header" |
    sed 's/.*"model.embed_tokens.weight":{[^}]*"data_offsets":\[\([0-9]*\),.*/\1/')

# break_base BYTES: the embedding of "Z" (token 90) becomes these four bytes, sixteen times.
break_base() {
    local i
    rm -rf base
    cp -r good base
    for i in $(seq 16); do printf '%b' "$1"; done |
        dd of=base/model.safetensors bs=1 seek=$((8 + header + embedding + 90 * 64)) conv=notrunc 2>/dev/null
}

# text PLACE...: 20 documents; those with these numbers have the letter.
text() {
    local i letter
    for i in $(seq 20); do
        letter=l
        case " $* " in *" $i "*) letter=Z ;; esac
        printf '%sine %d: the quick brown fox jumps\n<end>\n' $letter "$i"
    done >text.txt
    rm -f data.h5
    "$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null
}

# masks RUN RANKS: masks over the broken base; two micro-batches a step.
masks() {
    configure "$1" "$2"
    sed -i "s|^model_name.*|model_name_or_path: base|; s/^trainable.*/trainable: masks+router/; s/^max_steps.*/max_steps: 12/
        s/^save_steps.*/save_steps: 1/; s/^gradient_acc.*/gradient_accumulation_steps: $((2 / $2))/" "$1.yaml"
}

skips() {
    grep -c '"skipped":true' "$1/metrics.jsonl" || true
}

# finite RUN: its checkpoints are intact (a save refuses values that are not finite), and a run goes on from the last
# one with a loss that is.
finite() {
    "$beam" inspect "$1" --verify >/dev/null && ! tail -n 1 "$1/metrics.jsonl" | grep -q '"loss":null,.*"skipped":false'
}

values=('\0\0\0300\0177' '\0\0\0200\0177' '\0\0\0200\0377') # the last bytes first
names=(NaN infinity -infinity)
good=0 tried=0 skipped=0
for v in 0 1 2; do
    break_base "${values[v]}"
    for ((place = 1; place <= cases; place++)); do
        tried=$((tried + 1))
        rm -rf run like
        text $((place * 2))
        masks run 1
        code=0
        "$beam" train run.yaml 2>err || code=$?
        n=$(skips run)
        skipped=$((skipped + n))
        recorded=$(sed -n 's/.*"skipped": \([0-9]*\),.*/\1/p' "$(checkpoint run "$(newest run)")/manifest.json")
        if [ $code -eq 0 ] && [ "$n" -gt 0 ] && [ "$n" -lt 12 ] && [ "$recorded" -eq "$n" ] && finite run; then
            good=$((good + 1))
        else
            echo "  ${names[v]} in document $((place * 2)): exit code $code, $n skipped, $recorded recorded"
        fi
    done
done
all "runs with some bad rows: skipped, counted, done" $good $tried
row "steps skipped in them" $skipped

if has_mpi; then
    needs_mpi
    good=0 tried=0
    for v in 0 1 2; do
        break_base "${values[v]}"
        for place in $(pick 3 "3 8 13 18"); do
            tried=$((tried + 1))
            rm -rf run two
            text "$place"
            masks run 1
            masks two 2
            "$beam" train run.yaml 2>err
            mpirun --oversubscribe --bind-to none -n 2 "$beam" train two.yaml >out 2>err || cat err
            [ "$(skips run)" -gt 0 ] && steps_like two 12 run && good=$((good + 1))
        done
    done
    all "the same with two ranks: the bits of one" $good $tried
fi

# Nothing but bad rows: the run ends with 6 after max_skipped_steps, and its last checkpoint is good.
good=0
for v in 0 1 2; do
    break_base "${values[v]}"
    rm -rf run
    text 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
    masks run 1
    code=0
    "$beam" train run.yaml max_skipped_steps=3 2>err || code=$?
    if [ $code -eq 6 ] && [ "$(skips run)" -eq 4 ] && grep -q 'steps in a row had a non-finite loss' err && finite run; then
        good=$((good + 1))
    else
        cat err
    fi
done
all "runs of bad rows only that end with 6" $good 3

# Weights that overflow in the update: the save refuses them, and nothing takes the name of a checkpoint.
good=0
for rate in 1e39 1e300; do
    rm -rf run
    configure run 1
    code=0
    "$beam" train run.yaml learning_rate=$rate warmup_steps=0 warmup_ratio=0 save_steps=1 2>err || code=$?
    if [ $code -eq 6 ] && grep -q 'is not finite' err && [ "$(newest run)" -eq 0 ]; then
        good=$((good + 1))
    else
        cat err
    fi
done
all "overflowing weights that no checkpoint took" $good 2
verdict
