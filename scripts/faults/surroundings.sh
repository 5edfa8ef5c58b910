#!/bin/bash
# What happens around a long run: a clock that jumps, a terminal that closes, a log that nobody reads, a full or
# read-only disk under the log, a folder that is removed or taken over. Each has one clear end.
set -eu
. "$(dirname "$0")/common.sh"
tools=$root/scripts/faults

configure whole 1
sed -i 's/^gradient_acc.*/gradient_accumulation_steps: 1/; s/^max_steps.*/max_steps: 40/' whole.yaml
"$beam" train whole.yaml 2>/dev/null

# again NAME SED: the same run in a folder of its own, with an edit.
again() {
    sed "s/^output_dir.*/output_dir: $1/; ${2:-}" whole.yaml >"$1.yaml"
}

# outcome WHAT CODE WANTED TEXT: the exit code, and what the program says.
outcome() {
    row "$1" "exit code $2"
    [ "$2" -eq "$3" ] || fail "$1: exit code $2 instead of $3"
    [ -z "$4" ] || grep -qF -- "$4" err || { fail "$1: does not say \"$4\""; cat err; }
}

equals() {
    losses "$1" >one
    losses whole >two
    check "$1 has the bits of the whole run" steps_like "$1" 40 whole
    check "$1 has its losses" cmp one two
}

# run NAME COMMAND...: its exit code.
run() {
    code=0
    "$@" >out 2>err || code=$?
}

if command -v cc >/dev/null; then
    cc -shared -fPIC -O1 -o jumps.so "$tools/clock_jumps.c"
    again clock
    LD_PRELOAD=$folder/jumps.so run "$beam" train clock.yaml
    outcome "a wall clock that jumps by a day at every look" $code 0 ""
    equals clock
    check "the jumps are in the log" test "$(cut -c 1-10 clock/log.0.txt | sort -u | wc -l)" -gt 1
fi

# A closed terminal: the run's terminal goes away (SIGHUP), and what it writes there fails from then on.
again terminal 's/^max_steps.*/max_steps: 1000000/'
script -qec "exec $beam train terminal.yaml" /dev/null >out 2>&1 </dev/null &
job=$!
await 30 has_reached terminal 10 || fail "the run in a terminal begins"
victim=$(trainers terminal)
kill -9 $job
await 15 gone "$victim" || fail "the run outlives its terminal"
{ wait $job || true; } 2>/dev/null
check "it saved" test "$(newest terminal)" -gt 0
check "and said so" grep -q 'memory: at most' terminal/log.0.txt
row "a terminal that closes" "saved at step $(newest terminal)"

again nohup
(trap '' HUP; exec "$beam" train nohup.yaml 2>err) &
job=$!
until listens $job || gone $job; do :; done
kill -HUP $job
code=0
wait $job || code=$?
outcome "the same under nohup" $code 0 ""
equals nohup

# The reader of the log ends: `beam train ... 2>&1 | head -1`.
again pipe
code=0
{ "$beam" train pipe.yaml logging_steps=1 2>&1 || echo $? >pipe.code; } | head -n 1 >/dev/null
[ ! -e pipe.code ] || code=$(cat pipe.code)
outcome "a log whose reader has gone" "$code" 0 ""
equals pipe

# The log goes to a full device: it is a copy of what the terminal shows, and the run goes on. metrics.jsonl is the
# record of the run, which ends where it cannot be written (disk_full.sh).
again full-log
mkdir full-log
ln -s /dev/full full-log/log.0.txt
run "$beam" train full-log.yaml
outcome "a full disk under log.0.txt" $code 0 ""
rm full-log/log.0.txt
equals full-log

again device
mkdir device
ln -s /dev/full device/metrics.jsonl
run "$beam" train device.yaml
outcome "metrics.jsonl that is no file" $code 5 "metrics.jsonl: not a regular file"

again no-log
mkdir -p no-log/log.0.txt # what root, too, cannot open as a file
run "$beam" train no-log.yaml
outcome "a log that cannot be opened" $code 5 "log.0.txt: cannot open"

mkdir disk
if mount -t tmpfs none disk 2>/dev/null; then
    again read-only "s|^output_dir.*|output_dir: disk/run|"
    run "$beam" train read-only.yaml --stop-after 20
    mount -o remount,ro disk
    run "$beam" train read-only.yaml
    outcome "a read-only disk" $code 5 "Read-only file system"
    mount -o remount,rw disk
    umount disk
fi

# halt FOLDER EVERY: stops the job where no save is under way: the last step that it has logged is not a multiple.
halt() {
    until kill -STOP $job && [ $(($(tail -n 1 "$1/metrics.jsonl" | grep -oE '[0-9]+' | head -n 1) % $2)) -ne 0 ]; do
        kill -CONT $job
        sleep 0.01
    done
}

# Its folder is removed: the next save makes it anew, with a whole checkpoint. The losses so far are gone with it.
again removed "s/^max_steps.*/max_steps: 1000000/; s/^save_steps.*/save_steps: 50/"
"$beam" train removed.yaml 2>err &
job=$!
await 30 has_reached removed 50 || fail "the run begins"
halt removed 50
rm -rf removed
kill -CONT $job
await 30 has_reached removed 1 || fail "the folder is made anew"
kill -USR1 $job
ends $job
outcome "its folder is removed" $code 7 "was removed or moved while the run works in it"
intact removed

# Its folder is moved away and another job begins under the name: the first one ends at its next save.
again taken "s/^max_steps.*/max_steps: 1000000/; s/^save_steps.*/save_steps: 100/"
"$beam" train taken.yaml 2>err &
job=$!
await 30 has_reached taken 100 || fail "the run begins"
halt taken 100
mv taken elsewhere
mkdir taken
exec 9>taken/.lock
flock 9
kill -CONT $job
ends $job
outcome "another job takes its folder's place" $code 5 "works in this folder already"
exec 9>&-
intact elsewhere
verdict
