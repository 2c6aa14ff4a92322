#!/usr/bin/env bash
# FedAvg by `laconic fed run` and by a plain PyTorch loop of the same work, in turns, on this machine: rounds/s and their
# ratio. PyTorch runs with one thread and with all cores; the faster one counts.
#   scripts/peers/fedavg.sh [ROUNDS] [REPETITIONS]
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-60} repetitions=${2:-3} laconic=${LACONIC:-build/release/tools/laconic} cores=$(nproc)
python=${PYTHON:-/usr/bin/python3}  # the one that apt installs for
[[ -x $laconic ]] || { echo "fedavg: no $laconic; build it, or name it in LACONIC" >&2; exit 2; }
"$python" -c 'import torch' 2>/dev/null || { echo "fedavg: apt-get install python3-torch python3-numpy" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ours() {  # MODEL ROUNDS
  "$laconic" fed run --model "$1" --method fedavg --rounds "$2" --eval-every "$2" --checkpoint-every 0 -j "$cores" \
    -o "$work/run" >/dev/null
  "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["rows"][0]["rounds_per_second"])' "$work/run/results.json"
  rm -rf "$work/run"
}
torch() {  # MODEL ROUNDS THREADS
  "$python" scripts/peers/fedavg_torch.py --model "$1" --rounds "$2" --threads "$3" | cut -d' ' -f1
}
median() { sort -g | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

printf '%-18s %12s %14s %14s %8s\n' model 'laconic' 'torch, 1 thr.' "torch, $cores thr." ratio
for pair in 'mlp mlp(hidden=128)' 'logistic logistic'; do
  name=${pair%% *} model=${pair#* } many=$rounds
  [[ $name == logistic ]] && many=$((5 * rounds))
  for ((i = 0; i < repetitions; ++i)); do
    ours "$model" "$many" >>"$work/ours-$name"
    torch "$name" "$many" 1 >>"$work/one-$name"
    torch "$name" "$many" "$cores" >>"$work/all-$name"
  done
  a=$(median <"$work/ours-$name") b=$(median <"$work/one-$name") c=$(median <"$work/all-$name")
  awk -v n="$name" -v a="$a" -v b="$b" -v c="$c" \
    'BEGIN {t = b > c ? b : c; printf "%-18s %8.1f r/s %10.1f r/s %10.1f r/s %7.2fx\n", n, a, b, c, a / t}'
done
