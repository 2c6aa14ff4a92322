#!/usr/bin/env bash
# What compression saves on a cluster you do not have: one allreduce on simulated nodes, by the library's own MPI path under SimGrid's
# SMPI. Every rank really encodes, sends and decodes; its clock moves only by the messages and by what its codec is known to take. So
# the figures are the same on every run and on every machine.
#
#   scripts/cluster_sim.sh [options]
#     --nodes 16,64           ranks, one a node; 256 take many minutes for each line
#     --rates 1,10,100        link rates, Gbit/s each way
#     --elements 4000000      float32 elements of the gradient; N@M says N from M nodes on: 4000000,1000000@256
#     --specs "A B ..."       what to compare with dense           (default: sign, top-k, quantize and low-rank)
#     --speeds FILE           codec speeds: what `laconic bench codec -J FILE` wrote; left out: measured here first
#     --latency 10            microseconds of each link; a message crosses two
#     --efficiency 0.956      share of a link's rate that carries payload: TCP over Ethernet, 1448 of 1514 bytes
#     --model ideal|smpi      ideal: a perfect switch, messages share links evenly and get all of them; smpi: SimGrid's default, which
#                             lowers the rate of short messages as on the Gigabit cluster it was fitted to
#     --program FILE          cluster_sim.so of a build that has one (-DLACONIC_BUILD_CLUSTER_SIM=ON); left out: built in build/cluster_sim
#     -o FILE.tsv             the table, tab-separated; FILE.json beside it
#
# Needs SimGrid (Debian: libsimgrid-dev) and a C++ compiler.
# Dense is the best of: this library's dense allreduce, and MPI_Allreduce by SimGrid's ring (lr), Rabenseifner (rab), recursive doubling
# (rdb) and segmented ring. Adding up floats costs dense nothing here, which favours it.
set -euo pipefail
cd "$(dirname "$0")/.."

nodes=16,64 rates=1,10,100 elements=4000000,1000000@256 speeds='' latency=10 efficiency=0.956 model=ideal program='' output=''
specs='sign+ef+scatter sign+ef+gather topk(ratio=0.001)+ef+gather topk(ratio=0.01)+ef+gather quantize(bits=4)+ef+scatter'
fail() { echo "cluster_sim: $*" >&2; exit 2; }
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    --nodes | --rates | --elements | --specs | --speeds | --latency | --efficiency | --model | --program)
      (($# > 1)) || fail "$1 needs a value"
      declare "${1#--}=$2"; shift 2 ;;
    -o) (($# > 1)) || fail "-o needs a file"; output=$2; shift 2 ;;
    *) fail "unknown argument $1 (see --help)" ;;
  esac
done
positive() { [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ && ! $2 =~ ^0+(\.0+)?$ ]] || fail "$1 is $2, expected a number above 0"; }
for value in ${nodes//,/ }; do
  if ! [[ $value =~ ^[0-9]+$ ]] || ((value < 2 || value > 4096)); then fail "--nodes has $value, expected 2 to 4096"; fi
done
for value in ${rates//,/ }; do positive --rates "$value"; done
positive --latency "$latency"
positive --efficiency "$efficiency"
case $model in ideal) network=CM02 ;; smpi) network=SMPI ;; *) fail "--model is $model, expected ideal or smpi" ;; esac
command -v smpirun >/dev/null || fail "smpirun is not installed (Debian: apt-get install libsimgrid-dev)"
[[ -z $speeds || -r $speeds ]] || fail "--speeds $speeds cannot be read"

build=build/cluster_sim
if [[ -z $program || -z $speeds ]]; then
  cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DLACONIC_BUILD_CLUSTER_SIM=ON -DLACONIC_BUILD_TOOLS=ON -DLACONIC_BUILD_TESTS=OFF \
    -DLACONIC_BUILD_EXAMPLES=OFF -DLACONIC_WITH_MPI=OFF --log-level=WARNING >/dev/null
fi
if [[ -z $program ]]; then
  cmake --build $build -j "$(nproc)" --target cluster_sim >&2
  program=$build/tools/cluster_sim/cluster_sim.so
fi
[[ -r $program ]] || fail "--program $program cannot be read"
if [[ -z $speeds ]]; then
  cmake --build $build -j "$(nproc)" --target laconic_tool >&2
  speeds=$build/speeds.json
  codecs=$(tr ' ' '\n' <<<"$specs" | sed 's/)+.*/)/; /(/! s/+.*//' | sort -u | paste -sd,)
  $build/tools/laconic bench codec --spec "$codecs" --elements 4M -J $speeds >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

elements_at() {  # of a gradient on so many nodes
  local part found=''
  for part in ${elements//,/ }; do
    if [[ $part != *@* ]]; then
      [[ -n $found ]] || found=$part
    elif (($1 >= ${part#*@})); then
      found=${part%@*}
    fi
  done
  echo "$found"
}

# simulate NODES RATE ALGORITHM SPEC: sets seconds and bytes.
simulate() {
  local n=$1 rate=$2 algorithm=$3 spec=$4 bandwidth
  bandwidth=$(awk "BEGIN { printf \"%.0f\", $rate * 1e9 / 8 * $efficiency }")
  cat >"$work/platform.xml" <<XML
<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="cluster" prefix="n" suffix="" radical="0-$((n - 1))" speed="1Gf" bw="${bandwidth}Bps" lat="${latency}us"/>
</platform>
XML
  seq -f 'n%g' 0 $((n - 1)) >"$work/hosts"
  smpirun -np "$n" -platform "$work/platform.xml" -hostfile "$work/hosts" -no-privatize --log=root.thres:error \
    --cfg=network/model:$network --cfg=smpi/simulate-computation:no --cfg=smpi/allreduce:"$algorithm" \
    "$program" --elements "$(elements_at "$n")" --speeds "$speeds" --spec "$spec" \
    >"$work/out" 2>"$work/err" || { cat "$work/err" >&2; fail "the simulation of $spec on $n nodes failed"; }
  read -r seconds bytes < <(awk -F'\t' 'NF == 5 { print $4, $5 }' "$work/out")
}

rows=()
row() { rows+=("$(printf '%s\t' "$@" | sed 's/\t$//')"); printf '%5s nodes %7s Gbit/s  %-34s %12.6f s %12s B %8sx\n' "$1" "$2" "$4" "$5" "$6" "$7"; }
for n in ${nodes//,/ }; do
  for rate in ${rates//,/ }; do
    best='' best_name='' best_bytes=0
    for algorithm in own lr rab rdb ompi_ring_segmented; do
      if [[ $algorithm == own ]]; then
        simulate "$n" "$rate" lr dense
      else
        simulate "$n" "$rate" "$algorithm" mpi
      fi
      if [[ -z $best ]] || awk "BEGIN { exit !($seconds < $best) }"; then best=$seconds best_name=$algorithm best_bytes=$bytes; fi
    done
    row "$n" "$rate" "$(elements_at "$n")" "dense ($best_name)" "$best" "$best_bytes" 1.00
    for spec in $specs; do
      simulate "$n" "$rate" lr "$spec"
      row "$n" "$rate" "$(elements_at "$n")" "$spec" "$seconds" "$bytes" "$(awk "BEGIN { printf \"%.2f\", $best / $seconds }")"
    done
  done
done

if [[ -n $output ]]; then
  {
    printf 'nodes\tgbit_per_second\telements\tspec\tseconds\tbytes_sent_per_rank\ttimes_as_fast_as_dense\n'
    printf '%s\n' "${rows[@]}"
  } >"$output"
  {
    printf '{"schema": "laconic-cluster-sim", "version": 1, "latency_us": %s, "efficiency": %s, "model": "%s", "rows": [' \
      "$latency" "$efficiency" "$model"
    printf '%s\n' "${rows[@]}" | awk -F'\t' '{ printf "%s\n  {\"nodes\": %s, \"gbit_per_second\": %s, \"elements\": %s, \"spec\": \"%s\", ", (NR > 1 ? "," : ""), $1, $2, $3, $4
      printf "\"seconds\": %s, \"bytes_sent_per_rank\": %s, \"times_as_fast_as_dense\": %s}", $5, $6, $7 }'
    printf '\n]}\n'
  } >"${output%.tsv}.json"
fi
