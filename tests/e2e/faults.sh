#!/usr/bin/env bash
# A shape mismatch, a spec mismatch and a NaN on one rank end on all ranks with an error that names rank, tensor and both values; a rank
# killed with -9 ends an MPI job within the deadline + 4.5 s. TRIES of each of the killings (default 3).
source "$(dirname "$0")/common.sh"
tries=${TRIES:-3}
deadline=10
limit_s=$((deadline + 5))  # 4.5 s for MPI_Abort to end the job, rounded up to whole seconds
common+=(--steps 50 --timeout "$deadline")
spec='topk(ratio=0.01)+econtrol'

# expect_error NAME LIMIT_S PATTERN... -- COMMAND...: fails within LIMIT_S and prints each pattern.
expect_error() {
  local name=$1 limit=$2 patterns=()
  shift 2
  while [ "$1" != -- ]; do patterns+=("$1"); shift; done
  shift
  local begin=$SECONDS status=0
  timeout "$((limit + 20))" "$@" >"$work/out" 2>&1 || status=$?
  local took=$((SECONDS - begin))
  [ "$status" -ne 0 ] || { cat "$work/out"; fail "$name: ended without an error"; }
  [ "$status" -ne 124 ] || { cat "$work/out"; fail "$name: hung"; }
  [ "$took" -le "$limit" ] || fail "$name: took $took s, limit $limit s"
  for pattern in "${patterns[@]}"; do
    grep -qE -- "$pattern" "$work/out" || { cat "$work/out"; fail "$name: no '$pattern' in its output"; }
  done
  echo "ok $name: exit $status after $took s"
}

for how in threads processes; do
  expect_error "shape mismatch, $how" "$limit_s" 'shape of tensor [a-z0-9]+\.weight' '\[10, 128\]" on rank 0' '\[11, 128\]" on rank 2' -- \
    bash -c "$(declare -f threads processes); $(declare -p train mpirun common); $how 4 --spec '$spec' --inject-shape-mismatch 2"
  expect_error "spec mismatch, $how" "$limit_s" 'disagree on spec' 'topk.*on rank 0' 'dense" on rank 1' -- \
    bash -c "$(declare -f threads processes); $(declare -p train mpirun common); $how 4 --spec '$spec' --inject-spec-mismatch 1"
  expect_error "NaN under policy fail, $how" "$limit_s" 'step 7: gradient of tensor .* on rank 3 is nan at index 0' -- \
    bash -c "$(declare -f threads processes); $(declare -p train mpirun common); $how 4 --spec '$spec' --inject-nan 7,3 --non-finite fail"
done
for rank in 0 1 2 3; do
  grep -q "rank $rank:" "$work/out" || { cat "$work/out"; fail "rank $rank said nothing of the NaN"; }
done

threads 4 --spec "$spec" --inject-nan 7,3 >"$work/out" 2>&1 || { cat "$work/out"; fail "NaN under policy skip"; }
grep -q 'step 7 skipped' "$work/out" || { cat "$work/out"; fail "the skipped step is not reported"; }
echo "ok NaN under policy skip: the run goes on"

for try in $(seq "$tries"); do
  for strategy in dense "$spec" 'sign+ef+scatter' 'lowrank(rank=2)+ef'; do
    expect_error "kill -9 of rank $((try % 4)) of 4 MPI ranks, $strategy, try $try" "$limit_s" -- \
      bash -c "$(declare -f processes); $(declare -p train mpirun common); processes 4 --spec '$strategy' --die-at $((3 + try)),$((try % 4))"
  done
done
