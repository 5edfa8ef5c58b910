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
expect 0 "new/folder/t.h5: 1 documents" preprocess text.txt --out new/folder/t.h5
expect 5 "text.txt: exists but is not a folder" preprocess text.txt --out text.txt/x.h5
expect 2 "where to?" preprocess text.txt
expect 2 "where to?" preprocess data.h5
expect 2 "too few arguments" preprocess --out x.h5
expect 2 "--eval-fraction" preprocess text.txt --out x.h5 --eval-out y.h5
expect 2 "is an input and an output" preprocess text.txt --out text.txt
expect 2 "is an input and an output" preprocess text.txt --out ./text.txt
expect 2 "output of both parts" preprocess text.txt --out x.h5 --eval-out x.h5 --eval-fraction 0.5
mkfifo pipe.h5
expect 5 "pipe.h5: exists and is not a regular file" preprocess text.txt --out pipe.h5
check "it is still a pipe" test -p pipe.h5

# Conversations: the assistant's words are learned.
printf '{"messages":[{"role":"user","content":"hi <|eos|>"},{"role":"assistant","content":"ho"}]}\n' >chat.jsonl
printf '{"messages":[{"role":"user","content":"alone"}]}\n{"messages":"none"}\n' >>chat.jsonl
expect 3 'chat.jsonl:3: "messages" is not a list' preprocess chat.jsonl --out chat.h5
expect 0 "chat.h5: 1 documents, 31 tokens, 9.7% of them trained" preprocess chat.jsonl --out chat.h5 --max-bad-rows 1 --show 1
check "its targets" grep -q '^«ho<|eos|>»$' out
check "the question is no target" grep -q '^hi <|eos|><|eos|><|bos|>assistant$' out
check "what teaches nothing" grep -q '1 conversations with nothing to learn' out

# A configuration names the texts.
mkdir books
printf '{"text":"one"}\n{"text":"two"}\n' >books/train.jsonl
cp books/train.jsonl books/valid.jsonl
printf 'model_name_or_path: m\ndataset: books/train.jsonl\neval_dataset: valid.h5\n' >run.yaml
expect 0 "books/train.h5: 2 documents, 8 tokens" preprocess run.yaml --show 1
check "how full rows are" grep -q '^books/train.h5: 1 rows of 2048 tokens per epoch, 0.4% full$' out
check "the next command" grep -q '^train on it: beam train run.yaml dataset=books/train.h5$' out
check "it is shown" grep -q '^--- document 0: 4 tokens, 3 trained' out
expect 0 "named.h5: 2 documents" preprocess run.yaml --out named.h5 eval_dataset=books/valid.jsonl
check "both texts" grep -q '^books/valid.h5: 2 documents, 8 tokens, 75.0% of them trained$' out
check "both in the next command" grep -q ' dataset=named.h5 eval_dataset=books/valid.h5$' out
cp run.yaml run.yml
expect 0 "data.h5: 20 documents" preprocess run.yml dataset=text.txt --separator '<end>' --out data.h5
rm books/*.h5
expect 2 "would both become books/train.h5" preprocess run.yaml eval_dataset=books/train.jsonl
expect 2 "--eval-out: eval_dataset is text" preprocess run.yaml eval_dataset=books/valid.jsonl --eval-out x.h5 --eval-fraction 0.5
expect 2 "run.yaml: dataset is data.h5, which is not text" preprocess run.yaml dataset=data.h5
expect 2 "unknown key \"datset\"" preprocess run.yaml datset=text.txt
expect 5 "books/none.txt: cannot open" preprocess run.yaml dataset=books/none.txt
check "nothing is written after a failure" test -z "$(find books -name '*.h5')"
finish
