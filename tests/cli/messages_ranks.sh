# shellcheck shell=sh
# Sourced by messages.sh: the messages of several ranks. $have_mpi 0: they are only looked for in the documentation.

# ranks_say CODE MESSAGE RANKS COMMAND...: an mpirun must end so.
ranks_say() {
    code=$1 message=$2
    shift 2
    if [ "$have_mpi" = 0 ]; then
        see "$message"
    else
        # shellcheck disable=SC2086 # words
        told "$code" "$message" $mpirun "$@"
    fi
}

# differ_in CODE MESSAGE KEY=VALUE: rank 1 is told something else than rank 0.
differ_in() {
    ranks_say "$1" "$2" -n 1 "$beam" train run.yaml output_dir=two : -n 1 "$beam" train run.yaml output_dir=two "$3"
}

messages_of_ranks() {
    differ_in 70 'the ranks differ in the configuration' learning_rate=0.5
    differ_in 70 'the ranks differ in the base model' model_name_or_path=random:config.json
    "$beam" preprocess one.txt text.txt --out data2.h5 --separator '<end>' >/dev/null
    differ_in 70 '... in the dataset' dataset=data2.h5
    differ_in 70 'the ranks differ in when to evaluate and save' save_steps=1
    differ_in 70 'the ranks differ in --stop-after' --stop-after=1
    written 'the ranks differ in the version of beam' train/trainer.c 'the version of beam'
    written '... in backend and bf16' train/trainer.c 'backend and bf16'
    written "the loss of this rank's rows is not finite" train/step.c
    ranks_say 2 '...: its steps had ... micro-batches, which ... ranks cannot share evenly' -n 2 "$beam" train run.yaml \
        output_dir=unprotected
    ranks_say 2 '... needs ... GB of memory for its 4 ranks on this machine' -n 4 "$beam" train run.yaml \
        output_dir=two model_name_or_path=random:huge.json
}
