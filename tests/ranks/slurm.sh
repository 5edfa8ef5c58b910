#!/bin/bash
# scripts/launch/slurm.sbatch with stand-ins for Slurm's programs: what goes back into the queue and what does not,
# and that the signal reaches the step.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

cat >"$folder/srun" <<'SH'
#!/bin/bash
while [ "${1#--}" != "$1" ]; do shift; done
exec "$@"
SH
cat >"$folder/scontrol" <<'SH'
#!/bin/bash
echo "$@" >>"$QUEUE"
SH
# A step that ends with $1, or on USR1 (a second later, as one that saves) with $2.
cat >"$folder/step" <<'SH'
#!/bin/bash
trap 'sleep 1; exit "$2"' USR1
: >"$READY"
[ "$1" = wait ] || exit "$1"
for _ in {1..100}; do sleep 0.1; done
exit 99
SH
chmod +x "$folder/srun" "$folder/scontrol" "$folder/step"
export PATH="$folder:$PATH" QUEUE="$folder/queue" READY="$folder/ready"
export SLURM_SUBMIT_DIR=$root SLURM_JOB_ID=42 SLURM_CPUS_PER_TASK=1

# expect CODE QUEUE FIRST ON_SIGNAL: the script's exit code, and what scontrol was told.
expect() {
    : >"$QUEUE"
    rm -f "$READY"
    bash "$root/scripts/launch/slurm.sbatch" "$folder/step" "$3" "$4" >"$folder/out" 2>&1 &
    job=$!
    if [ "$3" = wait ]; then
        until [ -e "$READY" ]; do sleep 0.05; done
        kill -USR1 $job
    fi
    code=0
    wait $job || code=$?
    if [ $code -ne "$1" ] || [ "$(cat "$QUEUE")" != "$2" ]; then
        echo "step $3 $4: exit code $code instead of $1, queue \"$(cat "$QUEUE")\" instead of \"$2\""
        cat "$folder/out"
        failures=$((failures + 1))
    fi
}

expect 0 "requeue 42" wait 7
expect 0 "" wait 0
expect 70 "" wait 70
expect 7 "" 7 0 # asked to stop by someone else: --stop-after, scancel
expect 3 "" 3 0
expect 0 "" 0 0
[ "$failures" -eq 0 ]
