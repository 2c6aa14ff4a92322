#!/usr/bin/env bash
# Bad input: each a clear error that names the thing, the value and what is accepted, and exit status 2.
source "$(dirname "$0")/common.sh"
floats "$work/x.f32" 1 -2 3 -4
floats "$work/nan.f32" 1 2 nan 4
printf 'abcde' >"$work/odd.f32"
: >"$work/empty.f32"

expect 2 'subcommand is required' --
expect 2 'unknown name "topq"; known are codecs identity' -- codec eval --spec 'topq(ratio=0.1)' --input "$work/x.f32"
expect 2 'spec column 6: topk has no key "ration"' -- bench allreduce --spec 'topk(ration=0.1)'
expect 2 'unbalanced parentheses' -- bench allreduce --spec 'topk(ratio=0.1'
expect 2 'odd.f32: 5 bytes are no whole number of float32 \(1 left over\)' -- codec eval --spec sign --input "$work/odd.f32"
expect 2 'nan.f32: element 2 is nan' -- codec encode --spec sign --input "$work/nan.f32" --output "$work/y"
expect 2 'nan.f32: element 2 is nan' -- bench codec --spec sign --input "$work/nan.f32"
expect 2 'empty.f32: holds no elements' -- codec eval --spec sign --input "$work/empty.f32"
expect 2 'missing.f32' -- codec eval --spec sign --input "$work/missing.f32"
expect 2 '--ranks 100000 is not in 1 to 1024' -- bench allreduce --ranks 100000
expect 2 'scatter\(owners=9\) on 4 ranks' -- bench ps --owners 9 --spec sign+ef -b 4K -e 4K
expect 2 '"0Gbit" is not a positive rate' -- bench allreduce --link 0Gbit
expect 2 'has no unit' -- bench allreduce --link 100
expect 2 'minbytes "1Q" is not a positive count' -- bench allreduce -b 1Q
expect 2 '--minbytes 4096 and --maxbytes 1024' -- bench allreduce -b 4K -e 1K
expect 2 '--backend mpi needs a launcher' -- bench allreduce --backend mpi
expect 2 'takes strategy gather' -- bench allgather --spec sign+ef+scatter
expect 2 'diana needs an unbiased codec' -- codec eval --spec 'topk(ratio=0.5)+diana' --input "$work/x.f32"
adaptive='adaptive(family=topk, budget=uniform:0.1)+ef'
expect 2 'name one of them here, such as that of its uniform setting, topk\(ratio=0.1' -- bench allreduce --spec "$adaptive"
expect 2 'chooses its codecs from gradients' -- codec encode --spec "$adaptive" --input "$work/x.f32" --output "$work/y"
expect 2 'chooses its codecs from gradients' -- plan --elements 1M --ranks 2 --link 1Gbit --spec "$adaptive"
expect 2 '--shape 3x3 has 9 elements, the input has 4' -- codec eval --spec sign --input "$work/x.f32" --shape 3x3
expect 2 'is not a shape such as 4096x1024' -- codec eval --spec sign --input "$work/x.f32" --shape 2xq

# Payloads: another codec, cut short, another length.
expect 0 -- codec encode --spec sign --input "$work/x.f32" --output "$work/x.lacn"
expect 2 'codec' -- codec decode --spec 'topk(ratio=0.5)' --input "$work/x.lacn" --output "$work/y"
head -c 50 "$work/x.lacn" >"$work/cut.lacn"
expect 2 'cut.lacn' -- codec decode --spec sign --input "$work/cut.lacn" --output "$work/y"
head -c 10 "$work/x.lacn" >"$work/stub.lacn"
expect 2 '10 bytes are no payload' -- codec decode --spec sign --input "$work/stub.lacn" --output "$work/y"
expect 2 'x.f32' -- codec decode --spec sign --input "$work/x.f32" --output "$work/y"

# .npy that are not read: Fortran order, another type, big-endian, a shape that the data does not fill.
npy() { # npy FILE DICT BYTES
  python3 - "$@" <<'PY'
import struct, sys
path, text, data = sys.argv[1:]
text = text.encode() + b"\n"
open(path, "wb").write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + b"\0" * int(data))
PY
}
npy "$work/fortran.npy" "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }" 16
expect 2 'fortran.npy: Fortran order' -- codec eval --spec sign --input "$work/fortran.npy"
npy "$work/ints.npy" "{'descr': '<i4', 'fortran_order': False, 'shape': (4,), }" 16
expect 2 "ints.npy: element type '<i4'" -- codec eval --spec sign --input "$work/ints.npy"
npy "$work/big.npy" "{'descr': '>f4', 'fortran_order': False, 'shape': (4,), }" 16
expect 2 "element type '>f4'" -- codec eval --spec sign --input "$work/big.npy"
npy "$work/short.npy" "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }" 16
expect 2 'shape \[5\] of 4-byte elements, but 16 bytes' -- codec eval --spec sign --input "$work/short.npy"
npy "$work/bomb.npy" "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }" 16
expect 2 'bomb.npy' -- codec eval --spec sign --input "$work/bomb.npy"
printf '\x93NUMPY\x01' >"$work/stub.npy"
expect 2 'stub.npy' -- codec eval --spec sign --input "$work/stub.npy"

# Every subcommand teaches with an example.
for command in methods bench 'bench allreduce' 'bench allgather' 'bench ps' 'bench codec' codec 'codec encode' 'codec decode' \
  'codec eval' check; do
  # shellcheck disable=SC2086
  expect 0 'laconic' -- $command --help
done
echo "ok: every bad input is refused with its reason"
