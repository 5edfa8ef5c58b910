# shellcheck shell=sh
# Sourced after expect.sh: text, a token file and a tiny random model to train for a few steps. The tests run in
# $folder, so that paths in messages are short.
cd "$folder"

cat >config.json <<'JSON'
{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 259, "hidden_size": 16,
 "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
 "moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 64,
 "norm_topk_prob": true, "initializer_range": 0.3, "rms_norm_eps": 1e-06, "torch_dtype": "float32"}
JSON
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    printf 'line %d: the quick brown fox jumps\n<end>\n' "$i"
done >text.txt

# run NAME MODEL KEY=VALUE...: trains three steps of MODEL into the folder NAME.
run() {
    name=$1 model=$2
    shift 2
    cat >"$name.yaml" <<YAML
model_name_or_path: $model
dataset: data.h5
cutoff_len: 32
per_device_train_batch_size: 2
gradient_accumulation_steps: 1
learning_rate: 0.05
max_steps: 3
output_dir: $name
YAML
    "$beam" train "$name.yaml" "$@" 2>"$name.log" || { cat "$name.log"; exit 1; }
}

# A base model, and masks trained on it.
make_models() {
    "$beam" preprocess text.txt --out data.h5 --separator '<end>' >/dev/null
    run base-run random:config.json trainable=all mask.mode=off
    "$beam" export --run base-run --out base >/dev/null
    run masks-run base mask.target_active=1.2 mask.init_bias=0.1
}

# field KEY: a number of the JSON object that the last `expect` printed.
field() {
    sed -n "s/.*\"$1\":\([^],}]*\).*/\1/p" out
}

# results ARGUMENT...: what beam prints, without the times and the model's name.
results() {
    "$beam" "$@" 2>err | sed 's/"model":"[^"]*",//; s/,"tokens_per_s".*//'
}

# same WHAT ARGUMENT... -- ARGUMENT...: both commands print the same.
same() {
    what=$1
    shift
    first=""
    while [ "$1" != -- ]; do
        first="$first $1"
        shift
    done
    shift
    # shellcheck disable=SC2086 # no argument of these tests has spaces
    results $first >one
    results "$@" >two
    check "$what: something is printed" test -s one
    check "$what" cmp one two
}

# differ WHAT FILE FILE
differ() {
    if cmp -s "$2" "$3"; then
        echo "failed: $1"
        failures=$((failures + 1))
    fi
}
