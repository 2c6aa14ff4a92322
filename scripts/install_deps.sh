#!/usr/bin/env bash
# Installs what laconic is built from (Debian 12 and its relatives). Does nothing, quietly, when all is there.
#   scripts/install_deps.sh            everything that scripts/test.sh needs
#   scripts/install_deps.sh --minimal  the library and the trainer only: no MPI, no tests (what scripts/quickstart.sh needs)
set -euo pipefail

packages=(
  g++ cmake ninja-build
  libabsl-dev libfmt-dev nlohmann-json3-dev libxxhash-dev librandom123-dev libhwy-dev libzstd-dev  # the library
  libcli11-dev zlib1g-dev libopenblas-pthread-dev dataset-fashion-mnist                # examples/train
)
test_packages=(
  pkg-config libopenmpi-dev openmpi-bin libsimgrid-dev
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libsqlite3-dev libssl-dev  # laconic::server
  sqlite3  # reads the server's journal as an administrator would
  libgtest-dev libgmock-dev librapidcheck-dev
  clang-14 libclang-rt-14-dev  # libFuzzer
  valgrind  # counts the instructions of tests/bench/baseline.json
  bible-kjv bible-kjv-text  # what the transformer of examples/train reads
  python3   # reads and writes files in tests/tools/*.sh
  chromium  # opens a report and looks at its charts
)
# Node.js from elsewhere brings npm along, and then Debian's packages do not install beside it.
command -v npm >/dev/null || test_packages+=(nodejs npm)
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

install_packages() {
  local as_root=() apt_install
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
}
[[ ${#missing[@]} -eq 0 ]] || install_packages

# uPlot draws the charts of reports. Without it (no network, no npm) reports have tables only, so that this is no error.
uplot=1.6.32
cd "$(dirname "$0")/.."
if [[ ${1:-} != --minimal && ! -e build/npm/node_modules/uplot/dist/uPlot.iife.min.js ]]; then
  npm install --silent --no-audit --no-fund --prefix build/npm "uplot@$uplot" >/dev/null 2>&1 ||
    echo "$0: uPlot could not be fetched by npm; reports will have tables and no charts" >&2
fi
