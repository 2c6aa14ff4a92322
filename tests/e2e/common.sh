# Shared by the end-to-end tests: sourced with the path of examples/train as $1.
set -euo pipefail
train=$1
mpirun=${MPIEXEC:-mpirun}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The specs of the README's main job.
specs=(
  'dense'
  'topk(ratio=0.01)+econtrol'
  'sign+ef+scatter'
  'lowrank(rank=2)+ef'
  'quantize(bits=4)+ef+scatter'
)
common=(--batch 32 --seed 3 --lr 0.05)

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# The weight hash that a run printed ("... weights 0123456789abcdef on all 4 ranks").
hash_of() {
  local hash
  hash=$(grep -oE 'weights [0-9a-f]{16} on all' "$1" | awk '{print $2}')
  [ -n "$hash" ] || { cat "$1" >&2; fail "no weight hash in $1"; }
  echo "$hash"
}

threads() { # threads RANKS ARGS...: ranks as threads
  "$train" --ranks "$1" "${common[@]}" "${@:2}"
}
processes() { # processes RANKS ARGS...: ranks as MPI processes
  "$mpirun" -np "$1" "$train" "${common[@]}" "${@:2}"
}
