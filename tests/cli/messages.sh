#!/bin/sh
# docs/troubleshooting.md is what beam says: every message in its tables is provoked here, or is in the source where
# no test can provoke it from outside. `...` and numbers in a documented message stand for anything; a message that is
# documented and not here fails, and so does one that is here and not documented.
# Usage: messages.sh BEAM HAVE_MPI MPIRUN...
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/expect.sh"
. "$(dirname "$0")/tiny.sh"
. "$root/tests/cli/messages_ranks.sh"
. "$root/tests/cli/messages_export.sh"
shift
have_mpi=$1
shift
mpirun=$*

# The first cells of the message tables, one message per line.
awk '/^\| message \|/ {table = 1; next}
     !/^\|/ {table = 0}
     table && !/^\|---/ {
         split($0, cells, / \| /)
         cell = cells[1]
         while (match(cell, /`[^`]*`/)) {
             print substr(cell, RSTART + 1, RLENGTH - 2)
             cell = substr(cell, RSTART + RLENGTH)
         }
     }' "$root/docs/troubleshooting.md" >documented
: >seen

fail() {
    echo "$*"
    failures=$((failures + 1))
}

# see MESSAGE: it must be documented.
see() {
    grep -qxF -- "$1" documented || fail "not in docs/troubleshooting.md: $1"
    printf '%s\n' "$1" >>seen
}

# As an extended regular expression.
pattern() {
    printf '%s\n' "$1" | sed -E 's/[][(){}.*+?^$|\\]/\\&/g; s/\\\.\\\.\\\./.*/g; s/[0-9]+/[0-9]+/g'
}

# told CODE MESSAGE COMMAND...: the command must fail with the code (0: only warn) and the message.
told() {
    code=$1 message=$2
    shift 2
    see "$message"
    "$@" >out 2>err && got=0 || got=$?
    if [ "$got" -ne "$code" ] || ! grep -qE -- "$(pattern "$message")" err; then
        fail "$*: exit code $got, expected $code and: $message"
        cat err
    fi
}

# says CODE MESSAGE ARGUMENT...: the same of beam.
says() {
    code=$1 message=$2
    shift 2
    told "$code" "$message" "$beam" "$@"
}

# written MESSAGE FILE [TEXT]: its longest part, or TEXT, is in one text of a source file.
written() {
    see "$1"
    longest=$(printf '%s\n' "$1" | sed 's/\.\.\./\n/g' | awk 'length > length(best) {best = $0} END {print best}')
    tr -d '\n' <"$root/$2" | sed 's/"  *"//g' | grep -qF -- "${3:-$longest}" || fail "$2 does not say: $1"
}

# yaml TEXT [KEY=VALUE...]: a configuration with these lines after two that are needed.
yaml() {
    printf 'model_name_or_path: base\ndataset: data.h5\n%b\n' "$1" >run.yaml
}

make_models
"$beam" export --run masks-run --out masked >/dev/null

# ---- configuration
yaml 'seed: 1\nthreads: 1\ncutoff_len: 32\npacking: true\nlerning_rate: 1'
says 2 'run.yaml:7:3: unknown key "lerning_rate"; did you mean ...?' validate run.yaml
yaml 'seed: 1\nseed: 2'
says 2 '... duplicate key ...' validate run.yaml
yaml 'mask:\n  penalty: 1\nmask:\n  init: open'
says 2 'duplicate section ...' validate run.yaml
yaml 'mask:\n  threshold: 1'
says 2 '... must be a number > 0 and < 1, not "..."' validate run.yaml
yaml 'seed: [1, 2]'
says 2 '... takes one value, not a list' validate run.yaml
yaml 'seed:\n  one: 2'
says 2 'a section' validate run.yaml
yaml 'seed: &one 1\nthreads: *one'
says 2 'YAML aliases and anchors ... not accepted' validate run.yaml
yaml 'seed: !!int 1'
says 2 'YAML tags ...' validate run.yaml
yaml 'mask:\n\tpenalty: 1'
says 2 'this is not valid YAML: ...' validate run.yaml
yaml 'seed: \377'
says 2 'run.yaml:7: not UTF-8; save the file as UTF-8 text' validate run.yaml
yaml 'seed: \000'
says 2 'holds a zero byte' validate run.yaml
yaml 'mask:\n  penalty: 1\n  target_active: 1'
says 2 'mask.target_active cannot be combined with mask.penalty' validate run.yaml
yaml 'cutoff_len: 32\nmax_steps: 2\nper_device_train_batch_size: 2\noutput_dir: out-run'
says 2 'mask.mode is off and trainable (...) is not all' validate run.yaml mask.mode=off
says 2 'base_lr_ratio is for a base model that trains' validate run.yaml base_lr_ratio=0.1
says 2 'distill.weight needs ...' validate run.yaml distill.weight=0.5 trainable=all
says 2 'null_experts is for a model without masks' validate run.yaml null_experts=4 trainable=all
says 2 'null_experts needs routers that train' validate run.yaml null_experts=4 mask.mode=off
says 2 'mask.protect: "..." is not layer:expert' validate run.yaml mask.protect=1,2
says 2 "mask.temperature_end is ... and the masks' threshold ..." train run.yaml mask.temperature_end=0.1 mask.threshold=0.4
says 2 "mask.protect works through the gates' bias" validate run.yaml mask.protect=auto mask.init=zero
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 2, "mlp_only_layers": [0], "intermediate_size": 8/' config.json >dense.json
says 2 'mask.protect: ...: layer ... is dense' train run.yaml model_name_or_path=random:dense.json mask.protect=0:1
says 2 'the model has layers ...' train run.yaml mask.protect=9:1
says 2 'a layer has experts ...' train run.yaml mask.protect=1:9
"$beam" train run.yaml output_dir=unprotected 2>/dev/null
says 2 'was made without protecting expert ...' train run.yaml output_dir=unprotected mask.protect=1:1 \
    resume_from_checkpoint=unprotected/checkpoint-000002
says 2 'eval_steps needs eval_dataset' validate run.yaml eval_steps=1
says 2 'output_dir is missing' train run.yaml output_dir=null
says 2 '...: its steps had ... micro-batches, those of ... ranks with gradient_accumulation_steps ... have ...' \
    train run.yaml output_dir=unprotected gradient_accumulation_steps=2
says 2 '... was made with other settings' train run.yaml output_dir=unprotected learning_rate=0.5
says 2 'checkpoint-... is there already, ahead of step ...' train run.yaml output_dir=unprotected resume_from_checkpoint=none
says 2 'mask.mode is off, but ... has mask gates' train run.yaml model_name_or_path=masked mask.mode=off trainable=all
says 2 'mask.target_active is ..., but ... runs only ... experts' train run.yaml mask.target_active=3
says 2 '... rows of ... tokens: rows may have up to ...' train run.yaml cutoff_len=1048576 per_device_train_batch_size=4096
says 2 '--masks on: ... has no mask gates' eval --model base --data data.h5 --masks on
sed 's/: 259/: 300/' config.json >wide.json
printf '{"id": "1", "context": "a", "choices": ["b", "c"], "label": 0}\n' >questions.jsonl
says 2 '--choices: needs a byte-level model' score --model random:wide.json --input questions.jsonl --choices
says 2 '--prompt: needs a byte-level model' generate --model random:wide.json --prompt a
says 2 '--chat: ...' generate --model random:wide.json --chat a
says 2 '--ids "...": number ... is not an integer from 0 to ...' generate --model base --ids 1,x
says 2 '--lone ...: lone pairs are looked for on the processor only' generate --model base --ids 1 --lone drop --backend auto
sed 's/: 64,/: 16777216,/' config.json >long.json
awk 'BEGIN {for (i = 0; i < 64; i++) print "{\"ids\": [1]}"}' >many.jsonl
says 2 'keys, values and activations: needs ... GB of memory' generate --model random:long.json --input many.jsonl \
    --max-new-tokens 16777215 --batch 64
says 2 'unknown option --...' train --xyzzy run.yaml
says 2 'too few arguments' train

# ---- data
says 3 'its name must end in .txt, .jsonl, ...' preprocess config.json --out x.h5
printf '{"text": "a"}\n{"text": \n' >corpus.jsonl
says 3 'corpus.jsonl:12: not JSON: ...' preprocess corpus.jsonl --out x.h5
printf '{"txt": "a"}\n' >corpus.jsonl
says 3 'no key "text" and no "messages"' preprocess corpus.jsonl --out x.h5
printf '{"messages": 1}\n' >corpus.jsonl
says 3 'corpus.jsonl:12: "messages" is not a list ...' preprocess corpus.jsonl --out x.h5
printf '{"messages": [{"role": "user", "content": "a"}, {"role": 1}]}\n' >corpus.jsonl
says 3 'message 3: ...' preprocess corpus.jsonl --out x.h5
printf '{"text": %2000s\n' '' | tr ' ' '[' >corpus.jsonl
says 3 'JSON nested too deep' preprocess corpus.jsonl --out x.h5
awk 'BEGIN {printf "{\"text\": [0"; for (i = 0; i < 2000000; i++) printf ",0"; print "]}"}' >corpus.jsonl
says 3 'JSON with too many values' preprocess corpus.jsonl --out x.h5
written '... documents but only ... tokens' data/tokens.c '%lld documents but only %lld tokens'
written 'its ... tokens need more than ... GB of memory' data/tokens.c 'its %lld tokens need more than the %.1f GB of memory'
printf 'a \377 b\n' >corpus.txt
says 3 'not UTF-8' preprocess corpus.txt --out x.h5
awk 'BEGIN {printf "{\"text\": \""; for (i = 0; i < 17 * 65536; i++) printf "0123456789abcdef"; print "\"}"}' >corpus.jsonl
says 3 'longer than 16 MiB' preprocess corpus.jsonl --out x.h5
book=$root/examples/books/valid.jsonl.zst
head -c 5000 "$book" >cut.jsonl.zst
says 3 'ends in the middle of its compressed data' preprocess cut.jsonl.zst --out x.h5
{ head -c 2000 "$book"; head -c 500 /dev/zero; tail -c +2501 "$book"; } >broken.jsonl.zst
says 3 'damaged near byte ...' preprocess broken.jsonl.zst --out x.h5
{ head -c 900 data.h5; printf 'xxxx'; tail -c +905 data.h5; } >broken.h5
says 3 'damaged, or not written by beam (its checksum is wrong)' inspect broken.h5
printf 'a\n' >one.txt
written 'token file of format ...' data/tokens.c
written 'no token of it is a target' data/loader.c
sed 's/: 259/: 200/' config.json >small.json
says 3 "holds token ids up to ..., but the model's vocabulary has ..." train run.yaml model_name_or_path=random:small.json
printf '{"ids": [1, 2, 3, 999]}\n' >ids.jsonl
says 3 '"ids"[3] is not an integer from 0 to ...' score --model base --input ids.jsonl
awk 'BEGIN {printf "{\"ids\": [1"; for (i = 0; i < 80; i++) printf ",2"; print "]}"}' >ids.jsonl
says 3 '... ids, but ... has ... positions' score --model base --input ids.jsonl
says 3 '... tokens and ... new ones, but ... has ... positions' generate --model base --ids 1,2 --max-new-tokens 64
echo '{}' >none.json
says 3 'not an evaluation: the key ... is missing' report x=none.json
echo '{"results": {}}' >none.json
says 3 '"results" holds no score' report none.json
echo '{"results": {"t": {"acc,none": NaN}}}' >none.json
says 3 'invalid token near ...NaN...' report none.json
printf '{"results": {"t": {"acc,none": 1}}, "model_name": "a/m"}\n' >one.json
says 3 '... was in a file of the same model before' report one.json one.json
sed 's:a/m:b/m:' one.json >other.json
says 2 'its model ... would be "...", as ... is' report one.json other.json
says 3 'not written: of ... documents none is left for it' preprocess one.txt --out x.h5 --eval-out y.h5 --eval-fraction 0.1

# ---- model and checkpoint
# variant NAME SED-SCRIPT [FROM]: the base with another config.json.
variant() {
    rm -rf "$1"
    cp -r "${3:-base}" "$1"
    sed "$2" "${3:-base}/config.json" >"$1/config.json"
}
# refused MESSAGE MODEL
refused() { says 4 "$1" eval --data data.h5 --model "$2"; }
refused 'no such folder. A model is a Hugging Face folder ...' absent
variant v 's/"qwen3_moe"/"qwen9_moe"/'
refused '"model_type" is "..."; beam implements ...' v
cp "$root/tests/fixtures/configs/DeepSeek-V2-Lite.json" v/config.json
sed -i 's/"topk_method": "[a-z_]*"/"topk_method": "noaux_tc"/' v/config.json
refused '"topk_method" is "noaux_tc"; beam implements ...' v
variant v 's/"model_type"/"xyzzy": 1, "model_type"/'
refused 'beam does not know the key ...' v
variant v 's/"model_type"/"quantization_config": {"bits": 4}, "model_type"/'
refused '"quantization_config" is {...}' v
"$beam" train run.yaml mask.init=zero output_dir=zero-run 2>/dev/null
"$beam" export --run zero-run --out zero >/dev/null
says 4 'mask.protect needs mask gates with a bias' train run.yaml model_name_or_path=zero mask.protect=1:1
sed 's/"num_hidden_layers": 2/"num_hidden_layers": 2, "mlp_only_layers": [0, 1], "intermediate_size": 8/' config.json >dense.json
says 4 'no layer is a mixture of experts' train run.yaml model_name_or_path=random:dense.json
variant v ''
mv v/model.safetensors w.safetensors
ln -s ../w.safetensors v/model.safetensors
refused 'is a symbolic link; links inside a model folder are not followed' v
rm v/model.safetensors
refused 'holds neither model.safetensors nor model.safetensors.index.json' v

# weights SED-SCRIPT: the base with other bytes in its weights.
weights() {
    variant v ''
    LC_ALL=C sed "$1" base/model.safetensors >v/model.safetensors
}
weights 's/"model.norm.weight"/"model.norn.weight"/'
refused 'tensor ... is missing' v
variant v 's/"num_hidden_layers": 2/"num_hidden_layers": 1/'
refused 'is no part of the ... model' v
variant v 's/"moe_intermediate_size": 8/"moe_intermediate_size": 4/'
refused 'has shape ...' v
weights 's/"model.layers.0.mlp.experts.0.gate_proj.weight"/"model.layers.0.mlp.experts.gate_up_proj"      /'
refused 'holds experts one by one (...) and fused (...)' v
variant v 's/"model_type"/"tie_word_embeddings": true, "model_type"/'
refused 'lm_head.weight differs from model.embed_tokens.weight' v
head -c -4 base/model.safetensors >v/model.safetensors
refused 'data_offsets ... are outside the ... bytes of data' v
printf '\377\377\377\377\377\0\0\0{}' >v/model.safetensors
refused 'header claims ... bytes' v
{ cat base/model.safetensors; printf x; } >v/model.safetensors
refused 'the tensors end at byte ...' v
variant v '' masked
cp base/config.json v/config.json
refused 'holds the mask gate tensor ..., but the expert_mask block of its config.json ...' v
variant v 's/ExpertMaskQwen3/Qwen3/' masked
refused '"architectures" is ...; expected ["ExpertMask..."]' v
says 4 'has no manifest.json: not a complete checkpoint' train run.yaml resume_from_checkpoint=base
cp -r unprotected hurt
printf x | dd of=hurt/checkpoint-000002/state.h5 bs=1 seek=900 conv=notrunc 2>/dev/null
says 4 'damaged: its SHA-256 is not the one in the manifest' train run.yaml output_dir=hurt \
    resume_from_checkpoint=hurt/checkpoint-000002
says 4 'was made from another base model ...' train run.yaml output_dir=unprotected model_name_or_path=random:config.json
says 4 'was made with another dataset, cutoff_len, packing or seed' train run.yaml output_dir=unprotected seed=7
says 4 '... has another shape or type than this run needs' train run.yaml num_experts_per_tok=1 \
    resume_from_checkpoint=unprotected/checkpoint-000002
says 4 'holds ... arrays, this run has ...' train run.yaml mask.router_features=false \
    resume_from_checkpoint=unprotected/checkpoint-000002

messages_of_adapters
messages_of_exports

# ---- input and output
says 5 'cannot open: No such file or directory' preprocess absent.txt --out x.h5
written '... MB are needed, but only ... MB are free' data/folder.c
# limited COMMAND...: files may have 512 bytes.
limited() { (trap '' XFSZ && ulimit -f 1 && "$@"); }
told 5 'cannot write after ... bytes: ...' limited "$beam" preprocess text.txt --out x.h5
: >held.log
timeout 60 "$beam" train run.yaml max_steps=100000000 output_dir=held 2>held.log &
holder=$!
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if grep -q "step 10/" held.log; then break; fi
    sleep 0.5
done
says 5 'process 123 on ... works in this folder already' train run.yaml output_dir=held
kill "$holder"
wait "$holder" || true
mkdir odd
ln -s /dev/full odd/metrics.jsonl
says 5 'metrics.jsonl: not a regular file' train run.yaml output_dir=odd
written 'this folder or its lock was removed or moved while the run works in it' data/run_lock.c
written 'events.out.tfevents...: cannot write: ...; training goes on without TensorBoard' train/metrics.c
says 5 '... is there already, and beam init overwrites nothing' init base
says 5 'exists and is not empty' export --run masks-run --out base
written 'reads back with other numbers than were written' serve/verify.c
written 'changed its size while it was read' data/file.c

# ---- numbers
says 6 '... steps in a row had a non-finite loss or gradient' train run.yaml trainable=all learning_rate=1e38 warmup_ratio=0 \
    max_steps=30 output_dir=diverged lr_scheduler_type=constant max_grad_norm=0 save_steps=0
# not_finite COUNT FIRST: as many 0xff, NaN of any type, in the base's weights; bytes counted from the end.
not_finite() {
    variant v ''
    size=$(wc -c <base/model.safetensors)
    head -c "$1" /dev/zero | tr '\0' '\377' |
        dd of=v/model.safetensors bs=1 seek=$((size - $2)) conv=notrunc 2>/dev/null
}
not_finite 4 4 # in lm_head.weight
says 6 "a logit is not finite: the model's numbers overflowed" generate --model v --ids 1
not_finite 30000 52544 # everything in front of it
says 6 'expert ... of layer ... puts out numbers that are not finite' inspect v --experts --data data.h5
written 'no checkpoint of step ...: element ... is not finite' data/checkpoint.c

# ---- devices and memory
written 'backend: cuda is not part of this build' kernels/cuda/absent.c
written 'backend: cuda finds no device: ...' kernels/cuda/device.cu
written 'backend: cuda wants device ..., but there are only ...' kernels/cuda/device.cu
written 'backend: cuda has no code for device ...' kernels/cuda/device.cu
written 'cuda: ... failed: ...' kernels/cuda/device.cu 'cuda: %s failed: %s'
sed 's/"hidden_size": 16/"hidden_size": 16384/; s/"num_hidden_layers": 2/"num_hidden_layers": 256/
     s/"moe_intermediate_size": 8/"moe_intermediate_size": 8192/' config.json >huge.json
says 2 '...: needs ... GB of memory (its parameters alone ...), but this machine has ...' train run.yaml \
    model_name_or_path=random:huge.json
says 2 '... does not fit: training needs ... of memory; ... of ... are free' estimate huge.json
written 'no memory for ... (... bytes)' kernels/ops.c 'no memory for %s (%zu bytes)'

messages_of_ranks
sort -u seen >claimed
sort -u documented >wanted
comm -13 claimed wanted | while read -r message; do
    echo "documented, but not tried here: $message"
done >missing
cat missing
[ ! -s missing ] || failures=$((failures + 1))
finish
