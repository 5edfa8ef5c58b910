#!/bin/bash
# beam completion: what bash would offer at the end of a line; that zsh reads its script.
set -eu
# shellcheck source=tests/cli/expect.sh
. "$(dirname "$0")/expect.sh"
expect 2 "there are bash and zsh" completion fish
expect 2 "too few arguments" completion
"$beam" completion bash >"$folder/beam.bash"
check "no marker is left" bash -c "! grep -q '^@' $folder/beam.bash"
# shellcheck source=/dev/null
. "$folder/beam.bash"

# offers WHAT WORD...: WHAT is offered, as one word, at the end of this line. As bash has it, = is a word.
offers() {
    what=$1
    shift
    COMP_WORDS=(beam "$@")
    COMP_CWORD=$#
    _beam || true # compgen finds nothing
    if [[ " ${COMPREPLY[*]} " != *" $what "* ]]; then
        echo "beam $*: \"$what\" is not offered, but: ${COMPREPLY[*]}"
        failures=$((failures + 1))
    fi
}
offers train tr
offers version v
offers init help i
offers decode bench ""
offers zsh completion ""
offers --stop-after train --st
offers --dry-run train run.yaml --
offers --context bench decode --con
offers on eval --masks ""
offers cuda eval --model x --backend c
offers mask.penalty= train run.yaml mask.p
offers masks+router train run.yaml trainable = mas
offers cosine train run.yaml lr_scheduler_type =
offers true train run.yaml packing = t
offers linear train run.yaml --lr_scheduler_type li
COMP_WORDS=(beam train r) COMP_CWORD=2
_beam || true
check "the configuration is a file" test "${#COMPREPLY[@]}" -eq 0

"$beam" completion zsh >"$folder/_beam"
if command -v zsh >/dev/null; then
    check "zsh reads it" zsh -n "$folder/_beam"
    cat >"$folder/try.zsh" <<'ZSH'
autoload -Uz compinit && compinit -u -d $1/dump
source $1/_beam
# What _beam hands to the completion system, word by word.
compadd() { while [[ $1 == -* && $1 != -- ]]; do [[ $1 == -[SP] ]] && shift; shift; done; print -rl -- ${@:#--} }
_describe() { print -rl -- ${${(P)2}%%:*} }
_files() { print files }
compset() { :; }
offers() {
    local what=$1; shift
    words=(beam "$@") CURRENT=$(($# + 1))
    _beam | grep -qxF -- $what || print -r -- "beam $*: $what is not offered"
}
offers train tr
offers --dry-run train --
offers --context bench decode --con
offers cuda eval --backend ''
offers files eval --model ''
offers mask.penalty train run.yaml ''
offers masks train run.yaml trainable=
offers decode bench ''
ZSH
    zsh -f "$folder/try.zsh" "$folder" >"$folder/zsh.out" 2>&1 || true
    check "zsh offers everything: $(cat "$folder/zsh.out")" test ! -s "$folder/zsh.out"
fi
finish
