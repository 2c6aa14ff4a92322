#!/usr/bin/env bash
# `laconic bench` end to end: the JSON that report and compare read, nothing wrong in any collective, wire bytes as the strategies
# promise them. With MPIEXEC also under MPI, with the same command line.
source "$(dirname "$0")/common.sh"
small=(-b 4K -e 64K -f 16 -n 5 -w 1 --rounds 20)

checked() { # checked KIND ROWS [FACT]: $work/out is the JSON of a run in which nothing is wrong
  python3 - "$work/out" "$@" <<'PY'
import json, sys
path, kind, rows = sys.argv[1:4]
text = open(path).read()
run = json.loads(text[text.index("{"):])
assert run["schema"] == "laconic-bench" and run["version"] == 1 and run["kind"] == kind, run["kind"]
assert {"cpu", "cores", "memory_bytes", "kernel", "compiler", "kernels", "laconic"} <= set(run["machine"]), run["machine"]
assert len(run["rows"]) == int(rows), [row["spec"] for row in run["rows"]]
by = {(row["spec"], row.get("size_bytes")): row for row in run["rows"]}
for row in run["rows"]:
    if kind == "codec":
        assert row["memcpy_bytes_per_second"] > 0 and row["encode_residual_x_memcpy"] > 0 and row["error"] < 1.01, row
        continue
    assert row["wrong"] == 0, row
    assert len(row["times_seconds"]) == 5 and row["p99_seconds"] == max(row["times_seconds"]), row
    assert abs(row["busbw_bytes_per_second"] / row["algbw_bytes_per_second"] - float(sys.argv[4])) < 1e-9, row
if len(sys.argv) > 5:
    assert eval("(" + sys.argv[5] + ")"), sys.argv[5]
PY
}

# 4 ranks: a ring or halving-doubling of B bytes sends 1.5 B, and every rank sends 3 headers of 48 bytes.
expect 0 -- bench allreduce "${small[@]}" --json --spec \
  'sign+ef+scatter,topk(ratio=0.1)+econtrol+gather,lowrank(rank=2)+ef+linear,quantize(bits=4)+none+scatter,natural+diana,sign+ef+scatter(owners=2)'
checked allreduce 14 1.5 'by["dense", 65536]["wire_bytes_per_rank"] == 98304 + 144 and by["dense", 65536]["baseline"]
  and by["lowrank(rank=2)+ef+linear", 65536]["runs_as"] == "linear"
  and by["sign+ef+scatter", 65536]["error_after_rounds"] < by["sign+ef+scatter", 65536]["error_one_round"] * 0.7
  and by["quantize(bits=4)+none+scatter", 65536]["error_one_round"] < 0.5'

# A gather of float32: three payloads of 48 + B bytes, and the headers. The first error of a dense mean is rounding.
expect 0 -- bench allgather "${small[@]}" --json --spec 'topk(ratio=0.1)+ef,randk(ratio=0.1)+ef'
checked allgather 6 3 'by["identity", 4096]["wire_bytes_per_rank"] == 3 * (4096 + 48) + 144 and by["identity", 4096]["error_one_round"] < 1e-6'

# A central server sends three payloads; headers twice.
expect 0 -- bench ps "${small[@]}" --json --spec 'quantize(bits=8)+ef'
checked ps 4 6 'by["identity", 4096]["wire_bytes_per_rank"] == 3 * (4096 + 48) + 288'

expect 0 -- bench codec --spec 'sign,topk(ratio=0.01),lowrank(rank=2)' --elements 10K -n 5 --json
checked codec 6

# The table: units in the header, dense and memcpy in every run.
expect 0 'algbw +busbw' '\(GB/s\)' 'memcpy' 'dense' 'wins below' -- bench allreduce -b 1K -e 1K -n 5 --spec sign+ef+scatter --ranks 2

# A paced link is slower than none: 64 KiB dense on 4 ranks at 100 Mbit/s are 1.5 * 64 KiB * 8 / 1e8 = 7.9 ms.
expect 0 -- bench allreduce -b 64K -e 64K -n 5 -w 1 --rounds 1 --link 100Mbit --json --spec sign+ef+scatter
checked allreduce 2 1.5 'by["dense", 65536]["time_seconds"] > 0.0078 and by["sign+ef+scatter", 65536]["time_seconds"] < 0.0078
  and by["sign+ef+scatter", 65536]["break_even_bits_per_second"] > 0 and run["link"]["bits_per_second"] == 1e8'

if [ -n "${MPIEXEC:-}" ]; then
  "$MPIEXEC" -np 2 "$laconic" bench allreduce "${small[@]}" --spec 'sign+ef+scatter,lowrank(rank=2)+ef+linear' -J "$work/mpi.json" >/dev/null
  cp "$work/mpi.json" "$work/out"
  checked allreduce 6 1 'run["backend"] == "mpi" and run["ranks"] == 2'
  ! "$MPIEXEC" -np 2 "$laconic" bench allreduce --ranks 3 >"$work/out" 2>&1 || fail "--ranks 3 of 2 processes is accepted"
  grep -q -- '--ranks 3 but the launcher started 2 processes' "$work/out" || { cat "$work/out"; fail "no reason given"; }
fi
echo "ok: bench"
