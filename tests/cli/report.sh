#!/bin/sh
# beam report: the table, the page, and what is refused.
set -eu
. "$(dirname "$0")/expect.sh"
page="$folder/page.html"

# evaluation FILE LOSS ACCURACY AVG_ACTIVE SAVED MORE
evaluation() {
    printf '{"model":"m","data":"v.h5","targets":100,"top_k":4,"loss":%s,"accuracy":%s,' "$2" "$3" >"$1"
    printf '"avg_active":%s,"moe_flops_saved":%s%s}\n' "$4" "$5" "$6" >>"$1"
}
evaluation "$folder/base.json" 1.2 0.64 4 0 ''
evaluation "$folder/masks.json" 1.25 0.608 1.5 0.6 ',"masks":true,"expert_load":[[0.5,0,1,0],[0.25,0.75,0,0.5]]'
evaluation "$folder/top2.json" 1.5 0.5 2 0.5 ',"pruned_to":2'

run="$folder/first run"
mkdir "$run"
seq 1300 | awk '{
    printf "{\"step\":%d,\"loss\":2,\"task_loss\":%s,\"avg_active\":3,\"penalty\":0.3,\"lr\":0.0002,\"active\":[2,4]}\n",
        $1, $1 == 700 ? "null" : sprintf("1.%03d", $1 * 7919 % 1000)
}' >"$run/metrics.jsonl"
echo '{"step":1300,"eval_loss":1.25,"eval_accuracy":0.6,"eval_moe_flops_saved":0.25}' >>"$run/metrics.jsonl"
printf 'seed: 1 # <&"\n' >"$run/config.resolved.yaml"
printf 'not read' >"$run/events.out.tfevents.1700000000.host.1.0"

# The table, to the character.
cat >"$folder/golden" <<'TABLE'
model               loss    +nats  accuracy      Avg-K  MoE FLOPs saved  retention
base              1.2000        -    64.00%  4.00 of 4             0.0%     100.0%
<mäsk> & "a" 'b'  1.2500  +0.0500    60.80%  1.50 of 4            60.0%      95.0%
top2              1.5000  +0.3000    50.00%  2.00 of 4            50.0%      78.1%

run        steps  task loss  eval loss  eval accuracy  Avg-K  MoE FLOPs saved
first run   1300     1.7000     1.2500         60.00%   3.00            25.0%

TABLE
echo "wrote $page" >>"$folder/golden"
expect 0 "wrote $page" report "$folder/base.json" "<mäsk> & \"a\" 'b'=$folder/masks.json" "$folder/top2.json" \
    "$run/" --out "$page"
check "the table" diff "$folder/golden" "$folder/out"

# The page: what was given stands in it escaped, every tag is closed, nothing is fetched, long runs are thinned.
check "the name is escaped" grep -qF '&lt;mäsk&gt; &amp; &quot;a&quot; &#39;b&#39;' "$page"
check "the configuration is escaped" grep -qF 'seed: 1 # &lt;&amp;&quot;' "$page"
check "no unescaped name" sh -c "! grep -qF '<mäsk' '$page'"
check "experts that never run" grep -q 'class="cell h0" [^>]*d="M1 0h1v1h-1zM3 0h1v1h-1zM2 1h1v1h-1z"' "$page"
check "experts that run most" grep -q 'class="cell h9" [^>]*d="M2 0h1v1h-1z"' "$page"
check "no network" sh -c "! grep -qE 'https?:|src=|href=|url\(' '$page'"
check "numbers only" sh -c "! grep -qiE '[\" ML](-?nan|-?inf)[\" ML]' '$page'"
check "at most 1100 points in a line" awk '{ if (gsub(/[ML][0-9-]/, "") > 1100) exit 1 }' "$page"
check "one step without a loss is no gap in the mean" grep -q 'class="line s1" d="M[^M"]*"' "$page"
closed='{
    n = split($0, tag, "<")
    for (i = 2; i <= n; i++) {
        t = tag[i]
        if (t !~ />/) { print "unfinished tag: " t; exit 1 }
        sub(/>.*/, "", t)
        if (t ~ /^!/ || t ~ /\/$/) continue
        sub(/ .*/, "", t)
        if (t !~ /^\//) { open[++depth] = t; continue }
        if ("/" open[depth--] != t) { print NR ": " t " closes " open[depth + 1]; exit 1 }
    }
}
END { exit depth != 0 }'
check "every tag is closed" awk "$closed" "$page"
if command -v xmllint >/dev/null; then
    check "well-formed XML" xmllint --noout "$page"
fi

# Names that differ by a number, or have the same SERIES/, are one line of the charts, in the order of Avg-K.
evaluation "$folder/one.json" 1.4 0.60 1 0.8 ',"masks":true'
evaluation "$folder/three.json" 1.21 0.63 3 0.3 ',"masks":true'
expect 0 "wrote" report "base=$folder/base.json" "mine/last=$folder/top2.json" "gate 2.5, x=$folder/one.json" \
    "mine/first=$folder/three.json" "gate 10, x=$folder/three.json" "top2=$folder/top2.json" --out "$page"
keys() { sed -n '/class="keys"/,/<\/div>/s/.*<\/svg><span>\(.*\)<\/span><\/span>/\1/p' "$page" | tr '\n' '|'; }
check "the legend ($(keys))" test "$(keys)" = "base|mine|gate N, x|top2|"
check "one colour for a series" test "$(grep -c '<tr><th scope="row"><svg.*mark s1"' "$page")" -eq 2
check "two charts, points joined in two series" test "$(grep -c '<path class="join s[0-9]" d="M[^M]*L[^M]*"/>' "$page")" -eq 4
check "what keeps 98 %" grep -q '<b>3.00 of 4</b><span>mine/first<' "$page"
check "its numbers at the point" grep -q '>gate 2.5, x$' "$page"
check "98.4 % stands there" grep -q '^98.4 % of the accuracy' "$page"
check "the 98 % line" grep -q '<path class="limit"' "$page"

# A text: bytes become characters, of the mean of their tokens; markup in it is text; what is not UTF-8 shows as such.
text='[60,98,62,195,164,10,255,256,38]'
sample() {
    printf ',"masks":true,"sample":{"tokenizer":"%s","ids":%s,"kept":[1,1,1,2,4,1,4,1,2.5]}' "$1" "$text"
    printf ',"distinct_experts":{"1":2,"2":3.5,"4":%s}' "$2"
}
evaluation "$folder/text.json" 1.25 0.6 1.5 0.6 "$(sample byte 3.75)"
evaluation "$folder/ids.json" 1.25 0.6 1.5 0.6 "$(sample '<other>' null)"
expect 0 "wrote" report "$folder/base.json" "$folder/text.json" "$folder/ids.json" --out "$page"
check "the text, by level" grep -qF '<span class="t0">&lt;b&gt;</span><span class="t5">ä</span>' "$page"
check "not UTF-8, special, escaped" grep -qF '<span class="t7">�</span><span class="t0">&lt;|eos|&gt;</span><span class="t4">&amp;</span>' "$page"
check "ids of another tokenizer" grep -qF '<span class="t0">60 98 62 </span><span class="t2">195 </span>' "$page"
check "batches, with a gap" grep -q '^3.8 experts for 4 tokens' "$page"
check "ticks at powers of two" grep -q 'text-anchor="middle">4</text>' "$page"
check "every tag is closed" awk "$closed" "$page"
check "numbers only" sh -c "! grep -qiE '[\" ML(:](-?nan|-?inf)[\" ML%)]' '$page'"
evaluation "$folder/other.json" 1.2 0.5 4 0 ',"sample":{"tokenizer":"byte","ids":[1,2],"kept":[1]}'
expect 3 'sample.kept' report "$folder/other.json" --out "$page"

# Forty evaluations, some without numbers, some of nothing but a hostile name.
set --
for i in $(seq 40); do
    case $((i % 4)) in
    0) file=null ;;
    1) file=base ;;
    2) file=text ;;
    *) file=masks ;;
    esac
    [ $file != null ] || evaluation "$folder/null.json" null null null null ''
    set -- "$@" "</title><script>$i=$folder/$file.json"
done
expect 0 "wrote" report "$@" --out "$page"
check "no script" sh -c "! grep -qi '<script' '$page'"
check "every tag is closed" awk "$closed" "$page"
check "numbers only" sh -c "! grep -qiE '[\" ML(:](-?nan|-?inf)[\" ML%)]' '$page'"
check "the size is reasonable ($(wc -c <"$page"))" test "$(wc -c <"$page")" -lt 200000

# Scores of lm-evaluation-harness, beside an evaluation: names from the file or given, files of one model are one
# column, groups hide their parts, retention where higher is better, names are escaped.
# harness FILE MODEL ACC GROUP LAW PERPLEXITY QUESTIONS
harness() {
    cat >"$1" <<JSON
{"results": {"hellaswag": {"alias": "hellaswag", "acc,none": $3, "acc_stderr,none": 0.0048, "acc_norm,none": 0.75,
  "acc_norm_stderr,none": "N/A"}, "mmlu": {"acc,none": $4, "acc_stderr,none": 0.01}, "mmlu_<b>": {"acc,none": $5},
  "words": {"word_perplexity,none": $6, "word_perplexity_stderr,none": 1234.5}},
 "group_subtasks": {"mmlu": ["mmlu_<b>"]}, "n-samples": {"hellaswag": {"original": 10042, "effective": $7}},
 "higher_is_better": {"hellaswag": {"acc": true, "acc_norm": true}, "mmlu": {"acc": true}, "mmlu_<b>": {"acc": true},
  "words": {"word_perplexity": false}}, "lm_eval_version": "0.4.13", "model_name": "$2"}
JSON
}
harness "$folder/lm1.json" 'org/a \"base\"' 0.5 0.6 0.4 12345.678 100
harness "$folder/lm2.json" masks 0.49 0.57 0.3 -1e300 100
echo '{"results": {"gsm8k": {"exact_match,strict-match": 0.25}}, "model_name": "masks"}' >"$folder/lm3.json"
cat >"$folder/golden" <<'TABLE'
model    loss  +nats  accuracy      Avg-K  MoE FLOPs saved  retention
base   1.2000      -    64.00%  4.00 of 4             0.0%     100.0%

task                                         a "base"               masks  retention
hellaswag, acc                        0.5000 ± 0.0048     0.4900 ± 0.0048      98.0%
hellaswag, acc_norm                            0.7500              0.7500     100.0%
mmlu, acc                             0.6000 ± 0.0100     0.5700 ± 0.0100      95.0%
words, word_perplexity            1.23e+04 ± 1.23e+03  -1e+300 ± 1.23e+03          -
gsm8k, exact_match, strict-match                    -              0.2500          -

TABLE
echo "wrote $page" >>"$folder/golden"
expect 0 "wrote $page" report "$folder/base.json" "$folder/lm1.json" "$folder/lm2.json" "$folder/lm3.json" --out "$page"
check "the scores" diff "$folder/golden" "$folder/out"
check "the model's name is escaped" grep -qF '<th scope="col">a &quot;base&quot;</th>' "$page"
check "parts are folded away" grep -qF 'Parts of these tasks<span>1 score<' "$page"
check "their names are escaped" grep -qF '<th scope="row">mmlu_&lt;b&gt;, acc</th>' "$page"
check "and have retention" grep -qF '<td>75.0%</td>' "$page"
check "every tag is closed" awk "$closed" "$page"
expect 0 '"name":"masks","task":"hellaswag","metric":"acc","filter":"none","value":0.49,"stderr":0.0048,"retention":0.98' \
    report "$folder/lm1.json" "$folder/lm2.json" --json --out "$page"
set --
for i in 1 2 3 4 5 6 7; do
    set -- "$@" "m$i=$folder/lm2.json"
done
expect 0 "m6" report "$@" --out "$page"
check "four models beside the base in a table" test "$(grep -c '<th scope="col">m1</th>' "$page")" -eq 4
harness "$folder/lm3.json" other 0.4 0.6 0.5 2 50
expect 0 "were not asked the same number of questions" report "$folder/lm1.json" "$folder/lm3.json" --out "$page"
check "said on the page" grep -q 'the comparison means little' "$page"
expect 3 'was in a file of the same model before' report "$folder/lm1.json" "$folder/lm1.json" --out "$page"
harness "$folder/lm3.json" /elsewhere/masks 0.4 0.6 0.5 2 50
expect 2 'its model /elsewhere/masks would be "masks", as masks is' report "$folder/lm2.json" "$folder/lm3.json" --out "$page"
echo '{"results": {"t": {"acc,none": NaN}}}' >"$folder/lm3.json"
expect 3 'lm3.json:1:' report "$folder/lm3.json" --out "$page"

# One JSON object; a run alone; a path may itself hold a '='.
expect 0 "\"nats_above_base\":0.05,\"accuracy\":0.608,\"retention\":0.95,\"avg_active\":1.5" \
    report --json "$folder/base.json" "$folder/masks.json" --out "$page"
check "one line" test "$(wc -l <"$folder/out")" -eq 1
expect 0 "\"runs\":[{\"name\":\"first run\",\"step\":1300,\"loss\":2,\"task_loss\":1.7" \
    report --json "$run" --out "$page"
mv "$run" "$folder/lr=2e-4"
expect 0 "lr=2e-4   1300" report "$folder/lr=2e-4" --out "$page"

# A step without a loss is a gap in the curve.
for step in 1 2 3 4 5; do
    loss=$step
    [ $step -ne 3 ] || loss=null
    echo "{\"step\":$step,\"task_loss\":$loss,\"loss\":$loss,\"lr\":0.1}"
done >"$folder/lr=2e-4/metrics.jsonl"
name=abcdefghijklmnopqrstuvwxyz0
expect 0 "$name" report "$name=$folder/base.json" "$folder/lr=2e-4" --out "$page"
check "one evaluation is compared with nothing" sh -c "! grep -q 'Accuracy kept' '$page'"
check "a gap" grep -q 'class="line s1" d="M[^ML]* [^ML]*L[^ML]*M[^ML]*L[^ML]*"' "$page"

# Values at the edge of what is accepted still make a page.
{
    echo '{"step":1,"loss":1e300,"avg_active":0,"lr":0}'
    echo '{"step":9007199254740992,"loss":-1e300,"avg_active":5e-324,"lr":5e-324}'
} >"$folder/lr=2e-4/metrics.jsonl"
evaluation "$folder/null.json" null null null null ''
expect 0 "null" report "$folder/null.json" "$folder/base.json" "$folder/lr=2e-4" --out "$page"
evaluation "$folder/low.json" -1e300 1e-300 4 -1e300 ',"distinct_experts":{"1":1e-300,"2":0,"8":4}'
evaluation "$folder/high.json" 1e300 1 0 1 ',"masks":true,"distinct_experts":{"1":65536,"2":0},"expert_load":[[1e308,0]]'
expect 0 "low" report "$folder/low.json" "$folder/high.json" "$folder/null.json" "$folder/lr=2e-4" --out "$page"
check "every tag is closed" awk "$closed" "$page"
check "numbers only" sh -c "! grep -qiE '[\" ML](-?nan|-?inf)[\" ML]' '$page'"

evaluation "$folder/other.json" 1.2 0.5 4 0 ',"targets":99'
expect 3 "other.json" report "$folder/other.json" --out "$page" # a key twice
sed 's/"targets":100/"targets":99/' "$folder/base.json" >"$folder/other.json"
expect 0 "not of the same text" report "$folder/base.json" "$folder/other.json" --out "$page"

expect 2 "usage: beam report" report
expect 2 "expected NAME=PATH" report "=x"
expect 5 "$folder/none.json" report "$folder/none.json" --out "$page"
expect 5 "metrics.jsonl" report "$folder" --out "$page"
printf '{"a":1}\n' >"$folder/none.json"
expect 3 "not an evaluation: the key \"loss\" is missing" report "$folder/none.json" --out "$page"
printf '{"step":1,"loss":1}\nstep 2\n' >"$folder/lr=2e-4/metrics.jsonl"
expect 3 "metrics.jsonl:2" report "$folder/lr=2e-4" --out "$page"
rm "$page"
expect 5 "$folder/none/page.html" report "$folder/base.json" --out "$folder/none/page.html"
expect 3 "lr=2e-4" report "$folder/lr=2e-4" --out "$page"
check "no page after a failure" test ! -e "$page"
finish
