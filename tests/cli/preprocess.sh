#!/bin/sh
# beam preprocess: text to token files, what is shown, what is refused.
set -eu
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"

expect 0 "data.h5: 20 documents, " preprocess text.txt --out data.h5 --separator '<end>' --show 1
check "trained tokens are marked" grep -q '^l«ine 1: the quick brown fox jumps' out
expect 0 "--- document 1: " preprocess data.h5 --show 2
expect 0 "<|eos|>»" preprocess data.h5 --show 1
expect 0 "\"documents\":20," inspect data.h5 --json
expect 0 "tokens        " inspect data.h5

printf '{"body":"one"}\n{"body":3}\n{"body":""}\n{"body":"two"}\n' >rows.jsonl
expect 3 "rows.jsonl:2: " preprocess rows.jsonl --out rows.h5 --text-field body
check "nothing is written after a failure" test ! -e rows.h5
expect 0 "rows.h5: 2 documents, 8 tokens" preprocess rows.jsonl --out rows.h5 --text-field body --max-bad-rows 1
check "what was left out is said" grep -q "1 malformed" out
expect 0 "valid.h5: " preprocess text.txt --separator '<end>' --out train.h5 --eval-out valid.h5 --eval-fraction 0.3
zstd -q text.txt 2>/dev/null && expect 0 "z.h5: 20 documents" preprocess text.txt.zst --out z.h5 --separator '<end>'

: >empty.txt
expect 3 "empty.h5: not written" preprocess empty.txt --out empty.h5
expect 5 "none.txt" preprocess none.txt --out x.h5
expect 3 "its name must end in" preprocess config.json --out x.h5
expect 5 "text.txt/x.h5" preprocess text.txt --out text.txt/x.h5
expect 2 "where to?" preprocess text.txt
expect 2 "where to?" preprocess data.h5
expect 2 "too few arguments" preprocess --out x.h5
expect 2 "--eval-fraction" preprocess text.txt --out x.h5 --eval-out y.h5
expect 2 "is an input and an output" preprocess text.txt --out text.txt
finish
