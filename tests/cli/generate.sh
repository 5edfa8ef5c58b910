#!/bin/sh
# beam generate: continuations, alone and together, against beam score.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models
"$beam" export --run masks-run --out masked >/dev/null
"$beam" export --run masks-run --out masked-bf16 --dtype bfloat16 >/dev/null

# ids FILE: the new ids of each prompt of a JSON answer, a line each.
new_ids() {
    sed 's/"ids":\[/\n&/g' "$1" | sed -n 's/^"ids":\[\([^]]*\)\].*/\1/p'
}

printf '{"ids":[108,105,110]}\n{"ids":[9,8,7,6,5,4,3,2,1,0,1,2,3,4,5,6,7]}\n{"ids":[116]}\n' >prompts.jsonl
expect 0 "\"finish\":\"length\"" generate --model masked --input prompts.jsonl --max-new-tokens 9 --ignore-eos --json --experts
cp out all
new_ids all >ids.all
check "three continuations" test "$(wc -l <ids.all)" -eq 3
check "of nine tokens" test "$(tr ',' '\n' <ids.all | wc -l)" -eq 27

# Alone, in pieces, on more threads, from the run: the same.
for prompt in 108,105,110 9,8,7,6,5,4,3,2,1,0,1,2,3,4,5,6,7 116; do
    "$beam" generate --model masked --ids "$prompt" --max-new-tokens 9 --ignore-eos --json --chunk 2 --threads 3
done >one
new_ids one >ids.one
check "alone as together" cmp ids.all ids.one
for options in "--batch 2 --chunk 3" "--batch 1" "--run masks-run"; do
    # shellcheck disable=SC2086 # options are words
    case $options in
    --run*) "$beam" generate $options --input prompts.jsonl --max-new-tokens 9 --ignore-eos --json ;;
    *) "$beam" generate --model masked --input prompts.jsonl --max-new-tokens 9 --ignore-eos --json $options ;;
    esac >other
    new_ids other >ids.other
    check "the same with $options" cmp ids.all ids.other
done

# beam score sees the same experts in all tokens but the last, which did not pass through the model.
awk 'BEGIN { split("108,105,110 9,8,7,6,5,4,3,2,1,0,1,2,3,4,5,6,7 116", p, " ") } { print "{\"ids\":[" p[NR] "," $0 "]}" }' \
    ids.all >whole.jsonl
"$beam" score --model masked --input whole.jsonl --experts >scored
sed 's/{"prompt_tokens"/\n&/g' all | sed '1d; s/\]}$//; s/.*"active":\[\(.*\)\],"experts":\[\(.*\)\]}.*/\1 \2/' >ran
sed 's/.*"active":\[\(.*\)\],"experts":\[\(.*\)\]}/\1 \2/' scored >ran.scored
check "experts as in beam score" awk '
    NR == FNR { active[FNR] = $1; experts[FNR] = $2; next }
    { n += index($1, active[FNR] ",") == 1 && index($2, experts[FNR] ",") == 1 && length(experts[FNR]) > 20 }
    END { exit n != 3 }' ran ran.scored

# The probability of the most likely of 259 tokens is at least 1/259.
check "greedy is the most likely" awk -F'"logprobs":\\[' '
    { sub(/\].*/, "", $2); n = split($2, x, ","); for (i = n - 8; i <= n; i++) if (x[i] < -5.5569) bad = 1 }
    END { exit bad }' scored

# Masks, pruning, sampling.
expect 0 "\"avg_active\":2," generate --model masked --ids 1,2 --masks off --json --max-new-tokens 3
expect 0 "\"avg_active\":1," generate --model masked --ids 1,2 --top-k 1 --renormalize --json --max-new-tokens 3
expect 0 "\"masks\":true" generate --model masked-bf16 --ids 1,2 --json
expect 0 "new tokens" generate --model random:config.json --prompt "line" --max-new-tokens 4
"$beam" generate --model masked --ids 1,2 --temperature 1 --seed 1 --ignore-eos --json --max-new-tokens 20 >a 2>/dev/null
"$beam" generate --model masked --ids 1,2 --temperature 1 --seed 1 --ignore-eos --json --max-new-tokens 20 >b 2>/dev/null
"$beam" generate --model masked --ids 1,2 --temperature 1 --seed 2 --ignore-eos --json --max-new-tokens 20 >c 2>/dev/null
for f in a b c; do new_ids $f >$f.ids; done
check "a seed repeats" cmp a.ids b.ids
differ "another seed differs" a.ids c.ids

# The end: eos_token_id is the most likely token where its row of the head wins.
sed 's/}/,"eos_token_id": 50}/; s/"torch_dtype"/"tie_word_embeddings": false, "torch_dtype"/' config.json >eos.json
first=$("$beam" generate --model random:eos.json --ids 3,4 --max-new-tokens 1 --json | sed 's/.*"ids":\[\([0-9]*\)\].*/\1/')
sed -i "s/\"eos_token_id\": 50/\"eos_token_id\": $first/" eos.json
expect 0 "\"ids\":[$first],\"text\"" generate --model random:eos.json --ids 3,4 --max-new-tokens 8 --json
check "which ends the text" grep -q '"finish":"eos"' out

# A question is the conversation up to the answer: 257 user 10 hi 256 257 assistant 10.
"$beam" generate --model masked --max-new-tokens 9 --ignore-eos --json --chat hi >asked
"$beam" generate --model masked --max-new-tokens 9 --ignore-eos --json \
    --ids 257,117,115,101,114,10,104,105,256,257,97,115,115,105,115,116,97,110,116,10 >given
check "a question is a conversation" test "$(new_ids asked)" = "$(new_ids given)"
expect 2 "--chat: expected at least one byte" generate --model masked --chat ""
expect 2 "which prompt?" generate --model masked
expect 2 "which prompt?" generate --model masked --ids 1 --prompt a
expect 2 "which model?" generate --ids 1
expect 2 "number 2 is not an integer from 0 to 258" generate --model masked --ids 1,259
expect 2 "number 2 is not" generate --model masked --ids 1,
expect 2 "number 1 is not" generate --model masked --ids ""
expect 2 "at least one byte" generate --model masked --prompt ""
expect 2 "--max-new-tokens 0" generate --model masked --ids 1 --max-new-tokens 0
expect 2 "--temperature -1" generate --model masked --ids 1 --temperature -1
expect 2 "--top-p 0" generate --model masked --ids 1 --top-p 0
expect 2 "--top-k 3: masked has 2 candidates" generate --model masked --ids 1 --top-k 3
expect 2 "leave --masks out" generate --model masked --ids 1 --top-k 1 --masks on
expect 2 "--renormalize goes with --top-k" generate --model masked --ids 1 --renormalize
expect 2 "--batch 0" generate --model masked --ids 1 --batch 0
expect 2 "has no mask gates" generate --model base --ids 1 --masks on
expect 3 "--ids: 2 tokens and 64 new ones, but masked has 64 positions" generate --model masked --ids 1,2 --max-new-tokens 64
expect 3 "prompts.jsonl:2: 17 tokens and 60 new ones" generate --model masked --input prompts.jsonl --max-new-tokens 60
: >empty.jsonl
expect 3 "empty.jsonl: holds no line" generate --model masked --input empty.jsonl
expect 5 "none.jsonl: cannot open" generate --model masked --input none.jsonl
expect 4 "no such folder" generate --model nowhere --ids 1
sed 's/259/100/' config.json >small.json
expect 2 "needs a byte-level model" generate --model random:small.json --prompt a
if [ -w /dev/full ]; then
    "$beam" generate --model masked --ids 1 --max-new-tokens 2 >/dev/full 2>err && code=0 || code=$?
    check "exit code 5 on a full disk" test "$code" -eq 5
fi

# Timing, too small to mean anything.
expect 0 "pruned to 1" bench decode --model random:config.json --batch 1,3 --context 8 --steps 2
expect 0 "\"moe_share_of_read\":" bench decode --model masked --batch 2 --context 8 --steps 1 --json
expect 2 "--batch \"1,x\"" bench decode --batch 1,x
expect 2 "--layers 3: goes with random" bench decode --model random:config.json --layers 3
expect 2 "--active 2: expected" bench decode --model random:config.json --active 2
expect 2 "--context 64: the model has 64 positions" bench decode --model random:config.json --context 64
finish
