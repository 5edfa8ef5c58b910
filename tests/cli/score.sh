#!/bin/sh
# beam score: log-probabilities and experts of given ids, and multiple-choice questions.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
make_models
"$beam" export --run masks-run --out masked >/dev/null

# The documents of the token file, as ids.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ids=$(printf 'line %d: the quick brown fox jumps\n' "$i" | od -An -v -tu1 | tr -s ' \n' ',,' | sed 's/^,//')
    echo "{\"ids\":[${ids}256]}"
done >ids.jsonl
"$beam" eval --model masked --data data.h5 --json >out
loss=$(field loss) active=$(field avg_active)
expect 0 "\"logprobs\":[-" score --model masked --input ids.jsonl
check "a line per line" test "$(wc -l <out)" -eq 20
check "the mean is the loss of beam eval" awk -v loss="$loss" '
    { sub(/.*"logprobs":\[/, ""); sub(/\].*/, ""); n += split($0, x, ","); for (i in x) sum -= x[i] }
    END { d = sum / n - loss; exit !(n > 0 && d < 1e-6 && d > -1e-6) }' out
check "the counts are those of beam eval" awk -v active="$active" '
    { sub(/.*"active":\[\[/, ""); sub(/\]\].*/, ""); gsub(/[],[]+/, " "); n += NF; for (i = 1; i <= NF; i++) sum += $i }
    END { d = sum / n - active; exit !(n > 0 && d < 1e-9 && d > -1e-9) }' out
cp out stdout
check "into a file" "$beam" score --model masked --input ids.jsonl --out scores.jsonl
check "the same into a file" cmp stdout scores.jsonl
expect 0 "logprobs" score --run masks-run --input ids.jsonl
check "the same from the run" cmp stdout out

printf '{"ids":[1,2,3]}\n\n{"ids":[5]}\n' >two.jsonl
expect 0 "\"active\":[[2,2],[2,2],[2,2]],\"experts\":[[[" score --model masked --input two.jsonl --experts --masks off
check "one id has no log-probability" grep -q '^{"logprobs":\[\],' out

cat >questions.jsonl <<'JSONL'
{"id":"a","context":"line 1: the quick","choices":[" brown"," 123456 654321"],"label":0}
{"id":"b","context":"","choices":["a","bc","d"]}
{"id":"c","context":"0123456789012345678901234567890123456789012345678901234567890123456789","choices":["x","yy"],"label":1}
JSONL
expect 0 "accuracy by sum: " score --model masked --input questions.jsonl --choices
check "of two questions" grep -q "of 2)" err
check "three answers" test "$(grep -cE '"scores":\[[^]]*\],"scores_per_byte":\[[^]]*\],"choice":[01]' out)" -eq 3
# The score of the first choice is the sum over its bytes.
ids=$(printf 'line 1: the quick brown' | od -An -v -tu1 | tr -s ' \n' ',,' | sed 's/^,//; s/,$//')
echo "{\"ids\":[$ids]}" >one.jsonl
sum=$("$beam" score --model masked --input one.jsonl | sed 's/.*"logprobs":\[//; s/\].*//' | tr , '\n' | tail -n 6 |
    awk '{ s += $1 } END { printf "%.6f", s }')
check "the sum over the choice's bytes is $sum" awk -v sum="$sum" '
    NR == 1 { sub(/.*"scores":\[/, ""); d = $0 - sum; exit !(d < 1e-5 && d > -1e-5) }' FS=, out

expect 5 "none.jsonl: cannot open" score --model masked --input none.jsonl
echo '{"ids":[1,300]}' >wrong.jsonl
expect 3 "wrong.jsonl:1: \"ids\"[1] is not an integer from 0 to 258" score --model masked --input wrong.jsonl
echo "{\"ids\":[0$(printf ',%d' 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 \
    7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4)]}" >>wrong.jsonl
sed -i 1d wrong.jsonl
expect 3 "wrong.jsonl:1: 65 ids, but masked has 64 positions" score --model masked --input wrong.jsonl --out never.jsonl
check "no file after a failure" test ! -e never.jsonl
expect 3 "text.txt:1:" score --model masked --input text.txt
expect 5 "text.txt/x" score --model masked --input ids.jsonl --out text.txt/x
expect 3 "expected {\"context\"" score --model masked --input ids.jsonl --choices
sed 's/259/100/' config.json >small.json
expect 2 "byte-level model" score --model random:small.json --input questions.jsonl --choices
expect 2 "which tokens?" score --model masked
if [ -w /dev/full ]; then
    "$beam" score --model masked --input ids.jsonl >/dev/full 2>err && code=0 || code=$?
    check "exit code 5 on a full disk" test "$code" -eq 5
fi
finish
