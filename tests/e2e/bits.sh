#!/usr/bin/env bash
# Same seed, same bits: ranks as threads or as MPI processes, one or two encoding threads, once or twice.
source "$(dirname "$0")/common.sh"
steps=${STEPS:-200}
for spec in "${specs[@]}"; do
  threads 4 --spec "$spec" --steps "$steps" >"$work/a" 2>&1 || { cat "$work/a"; fail "$spec on threads"; }
  threads 4 --spec "$spec" --steps "$steps" >"$work/again" 2>&1 || fail "$spec again"
  threads 4 --spec "$spec" --steps "$steps" --encode-threads 2 >"$work/b" 2>&1 || fail "$spec with two encoding threads"
  processes 4 --spec "$spec" --steps "$steps" >"$work/c" 2>&1 || { cat "$work/c"; fail "$spec under mpirun"; }
  expected=$(hash_of "$work/a")
  for run in again b c; do
    [ "$(hash_of "$work/$run")" = "$expected" ] || fail "$spec: run $run gives $(hash_of "$work/$run"), not $expected"
  done
  echo "ok $spec: $expected after $steps steps in 4 runs (threads twice, two encoding threads, mpirun -np 4)"
done
