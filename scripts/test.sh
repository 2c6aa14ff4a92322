#!/usr/bin/env bash
# Installs what is needed, builds with warnings as errors, and runs every test: the release build with all of them (MPI on several
# ranks included), the unit tests under address and undefined behaviour sanitizers, the in-process transport and the queue under
# the thread sanitizer, and every fuzz target for 30 seconds.
#   scripts/test.sh          everything
#   scripts/test.sh --quick  the release build and its fast tests, for the inner loop
set -euo pipefail
cd "$(dirname "$0")/.."
quick=false
case "${1:-}" in
  "") ;;
  --quick) quick=true ;;
  *) echo "usage: $0 [--quick]" >&2; exit 2 ;;
esac

summary=()
failed=false
begin=$SECONDS
# stage <title> <command>...: runs it, goes on after a failure so that one run shows all of them.
stage() {
  local title=$1 start=$SECONDS outcome=passed
  shift
  echo "== $title"
  "$@" || { outcome=FAILED; failed=true; }
  summary+=("$(printf '%-8s %4d s  %s' "$outcome" $((SECONDS - start)) "$title")")
}

# build_and_test <preset> <targets, or all> <ctest options>...
build_and_test() {
  local preset=$1 targets=$2
  shift 2
  local switches=(-DLACONIC_WERROR=ON -DLACONIC_BUILD_TESTS=ON)
  [[ $preset == release ]] && switches+=(-DLACONIC_BUILD_EXAMPLES=ON -DLACONIC_BUILD_TOOLS=ON -DLACONIC_BUILD_BENCHMARKS=ON -DLACONIC_BUILD_CLUSTER_SIM=ON)
  cmake --preset "$preset" "${switches[@]}" --log-level=WARNING || return 1
  # shellcheck disable=SC2086
  cmake --build --preset "$preset" --target $targets || return 1
  "${fixed_addresses[@]}" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$(nproc)" "$@"
}

# Sanitizers of these compilers do not start under the address randomisation of recent kernels.
fixed_addresses=(env)
setarch "$(uname -m)" -R true 2>/dev/null && fixed_addresses=(setarch "$(uname -m)" -R)

export ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

stage "install packages" scripts/install_deps.sh
if $quick; then
  stage "release build, fast tests" build_and_test release all -LE 'slow|install'
else
  stage "release build, all tests" build_and_test release all
  # The fuzz preset is asan with the fuzz targets: one tree for both. Binaries that are not built appear to ctest as NOT_BUILT.
  stage "unit tests under address and undefined behaviour sanitizers" \
    build_and_test fuzz "base_test compressors_test comm_test strategy_test optim_test federated_test server_rounds_test sqlite_journal_test" -LE 'slow|install|mpi' -E NOT_BUILT
  stage "in-process transport, queue, gradient exchange and federated simulation under the thread sanitizer" \
    build_and_test tsan "comm_test strategy_test optim_test federated_test" -LE 'slow|install|mpi' -E 'NOT_BUILT|include_direction|DeathTest'
  stage "fuzz targets" scripts/fuzz.sh 30
fi

echo
echo "== summary ($((SECONDS - begin)) s)"
printf '%s\n' "${summary[@]}"
if $failed; then
  echo "FAILED"
  exit 1
fi
echo "all passed"
