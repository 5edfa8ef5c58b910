#!/bin/bash
# Two hosts: network namespaces with an address, a host name and a disk each, joined by a cable (a veth pair);
# scripts/launch/hostfile.sh over TCP, with `ip netns exec` in place of ssh. They see the same paths, but different
# files: output_dir is on the first one only. They train; then the second host is lost in the middle.
# Needs root and namespaces; skipped (77) elsewhere.
set -eu
. "$(dirname "$0")/job.sh"
. "$here/training.sh"

name=beam$$
# Processes of a host, of which the kernel knows.
kill_host() {
    ip netns pids "$name-$1" 2>/dev/null | xargs -r kill -9 2>/dev/null || true
}
is_empty() {
    [ -z "$(ip netns pids "$name-$1")" ]
}
remove_hosts() {
    for host in 0 1; do
        kill_host $host
        ip netns del "$name-$host" 2>/dev/null || true
    done
}
# shellcheck disable=SC2046
trap 'kill -9 $(jobs -p) 2>/dev/null || true; remove_hosts; rm -rf "$folder"' EXIT

make_hosts() {
    for host in 0 1; do
        ip netns add "$name-$host" && ip -n "$name-$host" link set lo up || return 1
    done
    ip -n "$name-0" link add cable type veth peer name cable netns "$name-1" || return 1
    for host in 0 1; do
        ip -n "$name-$host" address add "10.201.17.$((host + 1))/24" dev cable || return 1
        ip -n "$name-$host" link set cable up || return 1
    done
}

mkdir -p disk0/tmp disk1/tmp home
cp data.h5 config.json disk0
cp data.h5 config.json disk1
# on HOST COMMAND...: there, in its home.
cat >on <<SH
#!/bin/sh
export HOST_NAME=$name-\$1 DISK=$folder/disk\$1 HOST_HOME=$folder/home TMPDIR=$folder/home/tmp
shift
exec ip netns exec "\$HOST_NAME" unshare --uts --mount sh -c '
    hostname "\$HOST_NAME" && mount --bind "\$DISK" "\$HOST_HOME" && cd "\$HOST_HOME" && exec "\$@"' sh "\$@"
SH
# What mpirun calls as `ssh ADDRESS COMMAND LINE`.
cat >in_place_of_ssh <<SH
#!/bin/sh
shift
exec "$folder/on" 1 sh -c "\$*"
SH
chmod +x on in_place_of_ssh

if ! { make_hosts && ./on 1 true; } 2>/dev/null; then
    echo "skipped: no network namespaces here (root and iproute2 are needed)"
    exit 77
fi

printf '10.201.17.%d slots=1\n' 1 2 >hosts
export BEAM_NET=10.201.17.0/24 BEAM_IB=off BEAM_BIND=none OMPI_MCA_plm_rsh_agent="$folder/in_place_of_ssh"
launch=("$folder/on" 0 "$here/../../scripts/launch/hostfile.sh" "$folder/hosts")

# on_both COMMAND...: one rank on each host; output and exit code as of `ranks`.
on_both() {
    code=0
    timeout -k 5 60 "${launch[@]}" "$@" >"$folder/out" 2>"$folder/err" || code=$?
}

on_both "$beam" doctor
says 0 "2 ranks on 2 hosts, over mpi"

configure run 2
cp run.yaml disk0
cp run.yaml disk1
on_both "$beam" train run.yaml --stop-after 15
says 7 "stopped at step 15"
same_as_undisturbed disk0/run 15
check "the second host has no checkpoint" test "$(newest disk1/run)" -eq 0

# Host 1 is lost.
"${launch[@]}" "$beam" train run.yaml >log 2>&1 &
job=$!
check "training goes on" await 30 has_reached disk0/run 40
sleep "0.0$((RANDOM % 10))"
kill_host 1
ends $job
check "exit code $code is a failure" test "$code" -ne 0 -a "$code" -ne 7
check "no process is left" await 5 is_empty 0 # mpirun ends a moment before what it has killed
intact disk0/run
on_both "$beam" train run.yaml --stop-after 15
says 7 "resumed from run/checkpoint-"
same_as_undisturbed disk0/run "$(newest disk0/run)"
finish
