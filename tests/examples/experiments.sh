#!/usr/bin/env bash
# Every experiment runs from start to end in a few steps, leaves a table with numbers and a plot that is XML.
#   experiments.sh <scripts/experiments.sh> <build folder>
set -euo pipefail
script=$1 build=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$script" --quick --bin "$build" -o "$folder" >"$folder/out" || { cat "$folder/out" >&2; exit 1; }
for name in $("$script" --list | cut -d: -f1 | tr _ -); do
  grep -q '^| .* | .*[0-9]' "$folder/$name.md" || { echo "$name: no table"; exit 1; }
  python3 -c 'import sys, xml.dom.minidom as x; d = x.parse(sys.argv[1]); assert d.getElementsByTagName("polyline"), "no line"' \
    "$folder/$name.svg" || { echo "$name: no plot"; exit 1; }
done
# Runs that are there are not made again: this takes no training.
"$script" --quick --bin "$build" -o "$folder" >"$folder/again"
diff "$folder/out" "$folder/again"

for wrong in --nonsense no-such-experiment; do
  if "$script" "$wrong" 2>"$folder/error"; then echo "$wrong was accepted"; exit 1; fi
  grep -q -e "$wrong" "$folder/error"
done
