#!/bin/bash
# A full disk, in two forms: a small file system (tmpfs) that is almost full when training or an export begins, and a
# limit for the size of a file that is met in the middle of one. Always an error message with exit code 5, nothing
# half-written under a final name, and the last checkpoint goes on; or it fits, and all is well.
set -eu
. "$(dirname "$0")/common.sh"
sizes=$(pick 4 20)

configure base 1
sed -i 's/^save_steps.*/save_steps: 1/; s/^save_total_limit.*/save_total_limit: 2/' base.yaml
"$beam" train base.yaml --stop-after 3 2>/dev/null || [ $? -eq 7 ]
mkdir disk
mv base start
sed "s|^output_dir.*|output_dir: $folder/disk/run|" base.yaml >run.yaml
sed "s|^output_dir.*|output_dir: $folder/like|" base.yaml >like.yaml
cp -r start like
"$beam" train like.yaml save_total_limit=9 --stop-after 4 2>/dev/null || [ $? -eq 7 ]
"$beam" export --run like --out whole >/dev/null

refused=0 fitted=0 bad=0

# judge WHICH CODE: counts an attempt at $folder/disk; with room again, all goes on.
judge() {
    local step
    case $2 in
    0 | 7) fitted=$((fitted + 1)) ;;
    5) refused=$((refused + 1)) ;;
    *) bad=$((bad + 1)); echo "  $1: exit code $2: $(cat err)" ;;
    esac
    if [ "$1" = export ]; then
        [ ! -e disk/model ] || [ "$2" -eq 0 ] || { bad=$((bad + 1)); echo "  half an export"; }
        ! ls -d disk/model.tmp-* >/dev/null 2>&1 || { bad=$((bad + 1)); echo "  an export left its folder"; }
        [ -e disk/model ] || "$beam" export --run like --out disk/model >/dev/null 2>&1 || true
        diff -r disk/model whole >/dev/null || { bad=$((bad + 1)); echo "  not the same export"; }
        return
    fi
    "$beam" train run.yaml --stop-after 1 2>err || [ $? -eq 7 ] || cat err
    step=$(newest disk/run)
    if [ "$step" -lt 4 ] || ! steps_like disk/run "$step" like; then
        bad=$((bad + 1))
        echo "  $1: lost: step $step"
    fi
}

# attempt WHICH LIMIT: training or exporting to the disk as it is, with files of at most LIMIT kB.
attempt() {
    code=0
    (
        trap '' XFSZ
        ulimit -f "$2"
        case $1 in
        export) exec "$beam" export --run like --out disk/model ;;
        train) exec "$beam" train run.yaml --stop-after 2 ;;
        esac
    ) >/dev/null 2>err || code=$?
}

report() {
    row "$1: refused with exit code 5" "$refused"
    row "$1: had room enough" "$fitted"
    none "$1: other ends, losses, half a result" "$bad"
    check "$1: some were refused" test $refused -gt 0
    refused=0 fitted=0 bad=0
}

# From nothing free to a little more than what is needed with the reserve that is asked for.
declare -A most=([train]=1800 [export]=20000)
if mount -t tmpfs -o size=24m none disk 2>/dev/null; then
    for which in train export; do
        for ((i = 0; i < sizes; i++)); do
            rm -rf disk/*
            [ $which = export ] || cp -r start disk/run
            free=$((i * most[$which] / sizes))
            dd if=/dev/zero of=disk/ballast bs=1k count=$(($(df -k --output=avail disk | tail -n 1) - free)) 2>/dev/null || true
            attempt $which unlimited
            rm disk/ballast
            judge $which $code
        done
        report "full tmpfs, $which, $sizes sizes"
    done
    umount disk
else
    echo "  no tmpfs here (root is needed): only the limit for a file"
fi

# In kB; the largest file of each is a little smaller.
declare -A longest=([train]=190 [export]=64)
for which in train export; do
    for ((i = 0; i < sizes; i++)); do
        rm -rf disk/*
        [ $which = export ] || cp -r start disk/run
        attempt $which $((i * longest[$which] / sizes))
        judge $which $code
    done
    report "limit for a file, $which, $sizes sizes"
done
verdict
