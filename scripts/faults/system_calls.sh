#!/bin/bash
# A fault at every system call by which a save or an export touches its folder: killed there (SIGKILL), a full disk
# (ENOSPC), a broken one (EIO). After each the run must go on, from the checkpoint before or the new one, to the bits
# of a run that nobody disturbed; an export is complete or absent; and no error is swallowed. Then the order of 100
# saves and of an export: everything is synchronised before it is renamed, and the folder after.
set -eu
. "$(dirname "$0")/common.sh"
command -v strace >/dev/null || skip "apt-get install -y strace"
strace=(strace -f --seccomp-bpf) # stops only at the system calls it looks for; but then cannot inject signals
"${strace[@]}" -o "$folder/probe" -e trace=close -e inject=close:error=EIO:when=1 true 2>/dev/null ||
    grep -qs INJECTED "$folder/probe" || skip "strace may not trace here"

calls="openat write pwrite64 fsync fdatasync rename renameat renameat2 close unlink unlinkat mkdir rmdir ftruncate"
modes="signal=KILL error=ENOSPC error=EIO"
stride=$(pick 61 1)

# A base of two shards with a tokenizer, and a run of masks on it with checkpoints of steps 2 and 3.
sed -i 's/"vocab_size": 259/"vocab_size": 9000/' config.json
configure base-run 1
"$beam" train base-run.yaml max_steps=2 mask.mode=off 2>/dev/null
"$beam" export --run base-run --out base >/dev/null
echo '{"made": "for the test"}' >base/tokenizer.json
configure run 1
sed -i "s|^model_name.*|model_name_or_path: base|; s|^output_dir.*|output_dir: $folder/run|; s|^save_steps.*|save_steps: 1|
    s|^save_total_limit.*|save_total_limit: 2|; s|^trainable.*|trainable: masks|; s|^gradient_acc.*|gradient_accumulation_steps: 1|" run.yaml
"$beam" train run.yaml --stop-after 3 2>/dev/null || [ $? -eq 7 ]
cp -r run start
"$beam" train run.yaml save_total_limit=9 --stop-after 2 2>/dev/null || [ $? -eq 7 ]
mv run like
cp -r start damaged # a broken checkpoint in the place of the next one, which is to replace it
cp -r "$(checkpoint like 4)" damaged
truncate -s 1000 "$(checkpoint damaged 4)/state.h5"

# The commands that are disturbed, what they start from, and what they end with.
operate() {
    case $1 in
    export) "${@:2}" "$beam" export --run start --out "$folder/model" --shard-gb 0.001 ;;
    *) "${@:2}" "$beam" train run.yaml --stop-after 1 ;;
    esac
}
prepare() {
    rm -rf run model model.tmp-*
    [ "$1" = export ] || cp -r "$1" run
}
success() {
    case $1 in export) echo 0 ;; *) echo 7 ;; esac
}

# Where the run's files are written: an error there must be reported. Files that only people read (log, TensorBoard)
# may fail, as may reading what the program has a substitute for, and closing what was only read.
must_report() {
    case $1 in *log.0.txt* | *events.out* | */.lock* | "write(2<"*) return 1 ;; esac
    case $1 in
    openat*O_CREAT* | write* | pwrite* | fsync* | fdatasync* | rename* | mkdir* | ftruncate*) return 0 ;;
    esac
    [[ $1 =~ ^close\([0-9]*\<[^\>]*\.tmp-[0-9]+-[0-9]+\> ]] # of a file that was written
}

# plain TRACE: without process ids, and without the folder that relative paths count from.
plain() {
    sed -i 's/^[0-9]* *//; s/AT_FDCWD<[^>]*>/AT_FDCWD/' "$1"
}

# after WHICH CODE LINE: what the fault left is whole, and work goes on from it. Where the newest checkpoint could not
# be read, a run has said so and made it again, and an export is that of the one before; and where the metrics could not
# be read, it lacks what they say of the end of training.
after() {
    local step code=0
    if [ "$1" = export ]; then
        [ ! -e model ] && [ "$2" -eq 0 ] && return 1
        [ -e model ] || operate export >/dev/null 2>&1 || return 1
        diff -r model like-model >/dev/null && return
        grep -q 'passing this checkpoint over' operation.err || [[ $3 == openat*metrics.jsonl* ]] || return 1
        "$beam" inspect model --verify >/dev/null
        return
    fi
    "$beam" train run.yaml --stop-after 1 2>err || code=$?
    step=$(newest run)
    [ $code -eq 7 ] && [ "$step" -ge 4 ] && steps_like run "$step" like &&
        { [ "$2" -ne 7 ] || [ "$step" -eq 5 ] || grep -q 'passing this checkpoint over' operation.err; }
}

# disturb WHICH: the sweep over one operation.
disturb() {
    local which=$1 call mode k line code fired lost swallowed at=0 report
    prepare "$which"
    operate "$which" "${strace[@]}" -y -o clean -e trace="${calls// /,}" >/dev/null 2>&1 || [ $? -eq "$(success "$which")" ]
    [ "$which" != export ] || mv model like-model
    plain clean
    for call in $calls; do
        fired=0 lost=0 swallowed=0
        k=0
        while read -r line; do
            k=$((k + 1))
            case $line in *"$folder/"*) ;; *) continue ;; esac
            report=false
            must_report "$line" && report=true
            for mode in $modes; do
                at=$((at + 1))
                [ $((at % stride)) -eq 0 ] || continue
                prepare "$which"
                code=0
                inject=("${strace[@]}")
                [ "$mode" != signal=KILL ] || inject=(strace)
                operate "$which" "${inject[@]}" -o trace -e trace="$call" -e inject="$call:$mode:when=$k" \
                    >/dev/null 2>operation.err || code=$?
                grep -qE "INJECTED|killed by SIGKILL" trace || continue
                fired=$((fired + 1))
                after "$which" $code "$line" || { lost=$((lost + 1)); echo "  lost: $which, $mode at $call $k: $line"; }
                if $report && [ "$mode" != signal=KILL ] && [ $code -eq "$(success "$which")" ]; then
                    swallowed=$((swallowed + 1))
                    echo "  swallowed: $which, $mode at $call $k: $line"
                fi
            done
        done < <(grep "^$call(" clean)
        [ $fired -eq 0 ] || printf '  %-10s %-10s %6d %6d %10d\n' "$which" "$call" $fired $lost $swallowed
        faults=$((faults + fired)) all_lost=$((all_lost + lost)) all_swallowed=$((all_swallowed + swallowed))
    done
}

# in_order TRACE: prints "COMMITS VIOLATIONS" of a log: files and folders synchronised before the rename that makes
# them the result, its folder before anything else is removed, and before the end.
in_order() {
    awk -v folder="$folder/" '
    function above(path) { sub(/\/[^\/]*$/, "", path); return path }
    function full(path) { return path ~ /^\// ? path : folder path }
    function violate(what) { violations++; print "  order: " what ": " $0 > "/dev/stderr" }
    function quoted(n,   part) { split($0, part, "\""); return full(part[2 * n]) }
    function fd(   path) { path = $0; sub(/^[^<]*</, "", path); sub(/>.*/, "", path); return path }
    function commit(   path, place) {
        place = above(to)
        for (path in unsynced)
            if (index(path "/", from "/") == 1 || (path != place && index(place "/", path "/") == 1))
                violate(path " was not synchronised")
        waiting = place
        commits++
    }
    !/ = 0$| = [1-9]/ { next }
    /^(write|pwrite64|ftruncate)\(/ { unsynced[fd()] = 1 }
    /^f(data)?sync\(/ { delete unsynced[fd()]; if (fd() == waiting) waiting = "" }
    /^mkdir\(/ { unsynced[above(quoted(1))] = 1 }
    /^(unlinkat|rename)\(/ && waiting { violate("before " waiting " was synchronised") }
    /^rename\(/ {
        from = quoted(1); to = quoted(2)
        if (above(to) ~ /\.tmp-/) { if (from in unsynced) violate("not synchronised"); unsynced[above(to)] = 1 }
        else if (to !~ /\.(tmp|old)-[0-9]*$/) commit()
    }
    END { if (waiting) violate("at the end"); print commits + 0, violations + 0 }' "$1"
}

ordered() {
    local which=$1 commits violations
    shift
    "${strace[@]}" -y -o trace -e trace="${calls// /,}" "$beam" "$@" >/dev/null 2>&1 || [ $? -eq 7 ]
    plain trace
    read -r commits violations < <(in_order trace)
    row "$which: renames to a final name" "$commits"
    none "$which: violations of the order" "$violations"
    grep -v '^fsync' trace >unsynced
    read -r commits violations < <(in_order unsynced 2>/dev/null)
    row "$which: violations in the same log without its fsync calls" "$violations"
    check "the log without fsync calls is refused" test "$violations" -gt 0
}

faults=0 all_lost=0 all_swallowed=0
printf '  %-10s %-10s %6s %6s %10s\n' operation call fired lost swallowed
disturb start
disturb damaged
disturb export
row "faults that fired" "$faults"
none "checkpoints or exports lost" "$all_lost"
none "errors swallowed" "$all_swallowed"
check "faults are injected" test "$faults" -ge "$(pick 10 1000)"

configure ordered 1
ordered "$(pick 10 100) saves" train ordered.yaml save_steps=1 save_total_limit=2 output_dir="$folder/deep/er/run" \
    --stop-after "$(pick 10 100)"
ordered "an export" export --run start --out "$folder/deep/model" --shard-gb 0.001
verdict
