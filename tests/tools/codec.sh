#!/usr/bin/env bash
# Files in, payload out and back; what eval measures on numbers that can be checked by eye.
source "$(dirname "$0")/common.sh"
floats "$work/x.f32" 1 -2 3 -4 0 0 0 0

expect 0 '8 elements \[8\] by topk' -- codec encode --spec 'topk(k=2)' --input "$work/x.f32" --output "$work/x.lacn"
expect 0 '8 elements \[8\]' -- codec decode --spec 'topk(k=2)' --input "$work/x.lacn" --output "$work/back.f32"
floats "$work/expected.f32" 0 0 3 -4 0 0 0 0
cmp "$work/back.f32" "$work/expected.f32" || fail "topk(k=2) of 1 -2 3 -4 does not come back as 0 0 3 -4"

# The shape travels through .npy; a lossless codec brings back the bytes.
expect 0 -- codec decode --spec 'topk(k=2)' --shape 2x4 --input "$work/x.lacn" --output "$work/back.npy"
expect 0 '\[2, 4\] by identity' -- codec encode --spec identity --input "$work/back.npy" --output "$work/y.lacn"
expect 0 -- codec decode --spec identity --shape 2x4 --input "$work/y.lacn" --output "$work/again.npy"
cmp "$work/back.npy" "$work/again.npy" || fail ".npy does not survive identity"

# float64 and float16 are read, with a notice.
python3 - "$work" <<'PY'
import struct, sys
for name, descr, data in (("f8", "<f8", struct.pack("<4d", 1, -2, 3, -4)), ("f2", "<f2", struct.pack("<4e", 1, -2, 3, -4))):
    text = ("{'descr': '%s', 'fortran_order': False, 'shape': (2, 2), }\n" % descr).encode()
    open(f"{sys.argv[1]}/{name}.npy", "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
PY
floats "$work/four.f32" 1 -2 3 -4
for name in f8 f2; do
  expect 0 "$name.npy: float" -- codec encode --spec identity --input "$work/$name.npy" --output "$work/$name.lacn"
  expect 0 -- codec decode --spec identity --input "$work/$name.lacn" --output "$work/$name.f32"
  cmp "$work/$name.f32" "$work/four.f32" || fail "$name.npy is not read as 1 -2 3 -4"
done

# |x|^2 = 30, topk(k=2) keeps 25 of it: error sqrt(5/30) = 0.4082, measured delta 25/30 = 0.8333. With error feedback four rounds
# of the same x send the rest: what is still owed is less than what one round loses.
expect 0 -- codec eval --spec 'topk(k=2)+none,topk(k=2)+ef' --input "$work/x.f32" --rounds 100 --json
python3 - "$work/out" <<'PY'
import json, sys
none, ef = json.load(open(sys.argv[1]))
for row in none, ef:
    assert abs(row["error"] - (5 / 30) ** 0.5) < 1e-6, row
    assert abs(row["delta_measured"] - 25 / 30) < 1e-6 and row["delta_promised"] == 0.25, row
    assert row["kept"], row
assert abs(none["error_after_rounds"] - (5 / 30) ** 0.5) < 1e-6, none
# Error feedback: sum of directions = 100 x - e, so the mean is off by exactly |e| / 100.
assert abs(ef["error_after_rounds"] - ef["owed"] / 100) < 1e-6 and ef["error_after_rounds"] < 0.05, ef
PY
echo "ok: encode, decode, eval"
