#!/bin/sh
# Verbs, help, options: what is printed and the exit codes.
set -eu
. "$(dirname "$0")/expect.sh"

expect 0 "usage: beam VERB" help
expect 0 "usage: beam VERB" --help
expect 0 "usage: beam VERB"
expect 0 "beam 0." version
expect 0 "beam 0." --version
expect 0 "usage: beam doctor" help doctor
expect 2 "unknown verb \"vaildate\"; did you mean \`beam validate\`?" vaildate
expect 2 "unknown verb \"xyzzy\"; \`beam help\` lists them" xyzzy
expect 2 "unknown verb \"\"" ""
expect 2 "unknown verb \"xyzzy\"" help xyzzy

# Every verb explains itself with examples and refuses what it does not know.
for verb in $("$beam" help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p'); do
    case $verb in help | version) continue ;; esac
    expect 0 "usage: beam $verb" "$verb" --help
    expect 0 "examples:" "$verb" --help
    expect 2 "beam $verb: unknown option --xyzzy" "$verb" --xyzzy
    expect 2 "beam $verb: unknown option -x" "$verb" -x
done
expect 2 "beam doctor: unknown option --jsno; did you mean --json?" doctor --jsno
expect 2 "beam doctor: --json takes no value" doctor --json=1
expect 2 "unexpected argument \"more\"" doctor more
expect 2 "usage: beam validate CONFIG" validate
finish
