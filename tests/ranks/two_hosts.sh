#!/bin/bash
# Two hosts: network namespaces with an address, a host name and a disk each, joined by a cable (a veth pair); Open MPI
# over TCP between them, its daemon started by `ip netns exec` in place of ssh. They see the same paths, but different
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

# shellcheck disable=SC2054 # addresses with a comma between them
mpirun=("$folder/on" 0 "${mpirun[@]}" --host 10.201.17.1:1,10.201.17.2:1
    --mca plm_rsh_agent "$folder/in_place_of_ssh" --mca pml ob1 --mca btl self,tcp
    --mca oob_tcp_if_include 10.201.17.0/24 --mca btl_tcp_if_include 10.201.17.0/24)

ranks 2 "$beam" doctor
says 0 "2 ranks on 2 hosts, over mpi"

configure run 2
cp run.yaml disk0
cp run.yaml disk1
ranks 2 "$beam" train run.yaml --stop-after 15
says 7 "stopped at step 15"
same_as_undisturbed disk0/run 15
check "the second host has no checkpoint" test "$(newest disk1/run)" -eq 0

# Host 1 is lost.
"${mpirun[@]}" -n 2 "$beam" train run.yaml >log 2>&1 &
job=$!
check "training goes on" await 30 has_reached disk0/run 40
sleep "0.0$((RANDOM % 10))"
kill_host 1
ends $job
check "exit code $code is a failure" test "$code" -ne 0 -a "$code" -ne 7
check "no process is left" test -z "$(ip netns pids "$name-0")"
intact disk0/run
ranks 2 "$beam" train run.yaml --stop-after 15
says 7 "resumed from run/checkpoint-"
same_as_undisturbed disk0/run "$(newest disk0/run)"
finish
