# Shared by the tests of the command `laconic`: sourced with its path as $1.
set -euo pipefail
laconic=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect STATUS PATTERN... -- ARGS...: `laconic ARGS` exits with STATUS and says every pattern.
expect() {
  local wanted=$1 patterns=() status=0
  shift
  while [ "$1" != -- ]; do patterns+=("$1"); shift; done
  shift
  timeout 60 "$laconic" "$@" >"$work/out" 2>&1 || status=$?
  [ "$status" -eq "$wanted" ] || { cat "$work/out"; fail "laconic $*: exit status $status, not $wanted"; }
  for pattern in "${patterns[@]}"; do
    grep -qE -- "$pattern" "$work/out" || { cat "$work/out"; fail "laconic $*: no '$pattern' in its output"; }
  done
}

# floats FILE VALUES...: raw little-endian float32.
floats() {
  python3 -c 'import struct, sys; open(sys.argv[1], "wb").write(struct.pack("<%df" % len(sys.argv[2:]), *map(float, sys.argv[2:])))' "$@"
}
