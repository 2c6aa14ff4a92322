#!/usr/bin/env bash
# Builds every fuzz target (clang, address and undefined behaviour sanitizers) and runs each for a while, as many at a time as
# there are cores. Ends with an error on any finding; the input that shows it is left in build/fuzz/findings.
#   scripts/fuzz.sh [seconds per target, default 30]
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZ_SECONDS=${1:-30}

cmake --preset fuzz -DLACONIC_WERROR=ON --log-level=WARNING
cmake --build --preset fuzz --target fuzzers
mkdir -p build/fuzz/findings build/fuzz/logs build/fuzz/corpus
mapfile -t targets < <(find build/fuzz/tests/fuzz -maxdepth 1 -name '*_fuzz' -type f -executable | sort)
[[ ${#targets[@]} -gt 0 ]] || { echo "no fuzz targets were built" >&2; exit 1; }

# Sanitizers of these compilers do not start under the address randomisation of recent kernels.
FIXED_ADDRESSES=
setarch "$(uname -m)" -R true 2>/dev/null && FIXED_ADDRESSES="setarch $(uname -m) -R"
export FIXED_ADDRESSES

fuzz_one() {
  local target=$1 name seeds=()
  name=$(basename "$target")
  mkdir -p "build/fuzz/corpus/$name"
  [[ -d tests/fuzz/corpus/$name ]] && seeds=("tests/fuzz/corpus/$name")
  [[ -f tests/fuzz/$name.dict ]] && seeds+=("-dict=tests/fuzz/$name.dict")
  # shellcheck disable=SC2086
  if $FIXED_ADDRESSES "$target" -max_total_time="$FUZZ_SECONDS" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -verbosity=1 \
      -artifact_prefix="build/fuzz/findings/$name-" "build/fuzz/corpus/$name" "${seeds[@]}" \
      >"build/fuzz/logs/$name.log" 2>&1; then
    printf '  %-28s %s\n' "$name" "$(grep -E '^Done [0-9]+ runs' "build/fuzz/logs/$name.log" || echo done)"
  else
    printf '  %-28s FINDING\n' "$name"
    tail -n 40 "build/fuzz/logs/$name.log"
    return 1
  fi
}
export -f fuzz_one

echo "fuzzing ${#targets[@]} targets, $FUZZ_SECONDS s each"
printf '%s\0' "${targets[@]}" | xargs -0 -n 1 -P "$(nproc)" bash -c 'fuzz_one "$1"' _
