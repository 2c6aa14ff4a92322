#!/usr/bin/env bash
# Installs what laconic is built from (Debian 12 and its relatives). Does nothing, quietly, when all is there.
#   scripts/install_deps.sh            everything that scripts/test.sh needs
#   scripts/install_deps.sh --minimal  the library and the trainer only: no MPI, no tests (what scripts/quickstart.sh needs)
set -euo pipefail

packages=(
  g++ cmake ninja-build
  libabsl-dev libfmt-dev nlohmann-json3-dev libxxhash-dev librandom123-dev libhwy-dev  # the library
  libcli11-dev zlib1g-dev libopenblas-pthread-dev dataset-fashion-mnist                # examples/train
)
test_packages=(
  pkg-config libopenmpi-dev openmpi-bin libsimgrid-dev
  libgtest-dev libgmock-dev librapidcheck-dev
  clang-14 libclang-rt-14-dev  # libFuzzer
  valgrind  # counts the instructions of tests/bench/baseline.json
)
case "${1:-}" in
  "") packages+=("${test_packages[@]}") ;;
  --minimal) ;;
  *) echo "usage: $0 [--minimal]" >&2; exit 2 ;;
esac

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  # A package of several architectures gives one status each.
  [[ $status == *not-installed* || $status != *installed* ]] && missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "$0: run as root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
apt_install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists may be absent or out of date; they are fetched only when they prove so.
if ! "${apt_install[@]}" >"$log" 2>&1; then
  if ! { "${as_root[@]}" apt-get update -qq && "${apt_install[@]}"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    exit 1
  fi
fi
