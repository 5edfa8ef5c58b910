#!/bin/bash
# A second job in the same folder, a signal, and a rank that cannot read its data.
set -eu
. "$(dirname "$0")/job.sh"
. "$here/training.sh"

# A second job is refused and does not disturb the first, which USR1 to mpirun then stops.
configure first 2
"${mpirun[@]}" -n 2 "$beam" train first.yaml >first.log 2>&1 &
job=$!
check "the first job begins" await 30 has_reached first 10
ranks 2 "$beam" train first.yaml
says 5 "works in this folder already"
reached=$(newest first)
check "the first job goes on" await 30 has_reached first $((reached + 20))
kill -USR1 $job
ends $job
check "exit code $code after USR1" test "$code" -eq 7
intact first
same_as_undisturbed first "$(newest first)"

# Rank 1 finds a damaged file under the same name, as on another host.
mkdir host0 host1
cp data.h5 config.json host0
cp config.json host1
head -c 1000 data.h5 >host1/data.h5
configure host0/bad 2
mv host0/bad.yaml bad.yaml
sed -i 's|^output_dir.*|output_dir: out|' bad.yaml
cp bad.yaml host0
cp bad.yaml host1
cat >on_its_host <<SH
#!/bin/sh
cd "host\$OMPI_COMM_WORLD_RANK" && exec "$beam" train bad.yaml
SH
chmod +x on_its_host
began=$SECONDS
ranks 2 ./on_its_host
says 3 "rank 1: data.h5"
check "within 15 s" test $((SECONDS - began)) -lt 15
check "nothing is trained" test "$(newest host0/out)" -eq 0

# A rank that finds nothing at all.
rm host1/data.h5
ranks 2 ./on_its_host
says 5 "rank 1: "
check "names the rank" grep -q "rank 1: .*data.h5" "$folder/err"
finish
