#!/usr/bin/env bash
# The simulated cluster: the same figures twice, compression ahead of dense on a slow link, and errors that name what is wrong.
#   cluster_sim.sh <scripts/cluster_sim.sh> <cluster_sim.so>
set -euo pipefail
script=$1 program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/speeds.json" <<'JSON'
{"schema": "laconic-bench", "version": 1, "kind": "codec", "rows": [
 {"spec": "sign", "encode_residual_bytes_per_second": 8e9, "decode_add_bytes_per_second": 16e9},
 {"spec": "topk(ratio=0.01)", "encode_residual_bytes_per_second": 6e9, "decode_add_bytes_per_second": 200e9}]}
JSON
simulate() {
  "$script" --program "$program" --speeds "$work/speeds.json" --nodes 4 --rates 1 --elements 100000 \
    --specs 'sign+ef+scatter topk(ratio=0.01)+ef+gather' "$@"
}

simulate -o "$work/first.tsv" >/dev/null
simulate -o "$work/second.tsv" >/dev/null
cmp "$work/first.tsv" "$work/second.tsv"
grep -q '"schema": "laconic-cluster-sim"' "$work/first.json"
[[ $(wc -l <"$work/first.tsv") == 4 ]]
# 100,000 floats among 4 ranks at 0.956 Gbit/s: dense sends 600,000 bytes a rank, 5.0 ms; sign a 31st of that and 0.1 ms of work.
awk -F'\t' 'NR == 2 && ($5 < 0.005 || $5 > 0.0056) { print "dense took " $5 " s"; exit 1 }
            NR > 2 && $7 < 5 { print $4 " is only " $7 " times as fast"; exit 1 }' "$work/first.tsv"

refused() {  # refused <text that the error holds> <arguments...>
  local text=$1 status=0
  shift
  simulate "$@" >/dev/null 2>"$work/error" || status=$?
  if [[ $status != 2 ]] || ! grep -qF -- "$text" "$work/error"; then
    echo "expected exit 2 and \"$text\", got exit $status and: $(cat "$work/error")" >&2
    exit 1
  fi
}
refused '--nodes has 1, expected 2 to 4096' --nodes 1
refused '--rates is 0, expected a number above 0' --rates 0
refused '--model is fast, expected ideal or smpi' --model fast
refused 'has no row for natural' --specs natural+none+gather
refused 'unknown name "topq"' --specs topq
echo "cluster_sim: figures repeat, errors name what is wrong"
