#!/usr/bin/env bash
# `laconic fed` end to end on generated data: bad options, the folder, the same bits on any number of threads and ranks,
# again, and after kill -9.
source "$(dirname "$0")/common.sh"
small=(--data 'generate:logistic(features=40, samples=40, heterogeneity=1, test=400)' --clients 20 --sample 5 --local-steps 3
  --batch 8 --rounds 24 --eval-every 4 --seeds 1,2)
methods='fedavg,scallion(alpha=0.3)+quantize(bits=2, block=64, rounding=stochastic),scafcom(beta=0.2)+topk(ratio=0.1)'

# Errors name the option, the value and the bound.
expect 2 '--sample 30: must be at most --clients 20' -- fed run "${small[@]}" --sample 30
expect 2 '--lr -1: must be a number above 0' -- fed run --lr -1
expect 2 '--failure-rate 1: must be in \[0, 1\)' -- fed run --failure-rate 1
expect 2 '--target 84: must be an accuracy in' -- fed run "${small[@]}" --target 84
expect 2 '--seeds: 1 is there twice' -- fed run "${small[@]}" --seeds 1,1
expect 2 '--deadline 2: without --network' -- fed run --deadline 2
expect 2 'unknown split "even"' -- fed run --split even
expect 2 '--data generate: spec column' -- fed run --data 'generate:logistic(x=1)'
expect 2 '--model: .*unknown model "svm"' -- fed run "${small[@]}" --model svm
expect 2 'topk|unbiased' -- fed run "${small[@]}" --method 'scallion(alpha=0.1)+topk(ratio=0.1)' -o "$work/none"
expect 2 'no such codec|unknown codec|nonsense' -- fed run "${small[@]}" --compress nonsense -o "$work/none"
[ ! -e "$work/none" ] || fail 'a refused run left a folder'

expect 0 'left out: scallion.*topk' 'report.html' -- fed run "${small[@]}" --method 'fedavg,scallion(alpha=0.1)' \
  --compress 'identity,topk(ratio=0.1)' --rounds 4 -o "$work/pairs"
[ "$(ls "$work/pairs/models" | wc -l)" = 6 ] || fail "$(ls "$work/pairs/models")"

# One run, its files, and the same bits from other numbers of threads and ranks and from a config file.
expect 0 'fedavg +identity' 'report.html' -- fed run "${small[@]}" --method "$methods" -j 1 -o "$work/one"
for file in config.json rounds.jsonl results.csv results.json report.html models/02-scallion-quantize-seed1.safetensors; do
  [ -s "$work/one/$file" ] || fail "no $file"
done
expect 2 'holds a run already' -- fed run "${small[@]}" -o "$work/one"
same() { cmp "$work/one/rounds.jsonl" "$work/$1/rounds.jsonl" || fail "$1: other evaluations"
  diff <(grep -h _hash "$work"/one/runs/*) <(grep -h _hash "$work/$1"/runs/*) || fail "$1: other bits"; }
expect 0 -- fed run "${small[@]}" --method "$methods" -j 2 --checkpoint-every 0 -o "$work/two"
same two
if [ -n "${MPIEXEC:-}" ]; then
  "$MPIEXEC" -np 2 "$laconic" fed run "${small[@]}" --method "$methods" -j 1 -o "$work/ranks" >"$work/out" 2>&1 ||
    { cat "$work/out"; fail 'fed run under mpirun'; }
  same ranks
fi
cat >"$work/run.toml" <<TOML
data = "generate:logistic(features=40, samples=40, heterogeneity=1, test=400)"
clients = 20
sample = 5
local-steps = 3
batch = 8
rounds = 999
eval-every = 4
seeds = [1, 2]
method = ["$methods"]
TOML
expect 0 -- fed run --config "$work/run.toml" --rounds 24 -o "$work/toml"
same toml
sed s/clients/cleints/ "$work/run.toml" >"$work/bad.toml"
expect 2 'bad.toml: there is no option --cleints' -- fed run --config "$work/bad.toml"
expect 0 'model [0-9a-f]{16} as before' -- fed rerun "$work/one" -j 2
sed -i 's/"uplink_bytes":[0-9]*0,/"uplink_bytes":1,/' "$work/two/rounds.jsonl"
expect 1 'rounds.jsonl DIFFERS' -- fed rerun "$work/two"

# kill -9 in the middle of the first, second and last method: what is on disk goes on to the same bits.
long=("${small[@]}" --rounds 200 --checkpoint-every 8 --method "$methods")
expect 0 -- fed run "${long[@]}" --checkpoint-every 0 -o "$work/whole"
for lines in 20 150 260; do
  rm -rf "$work/killed"
  "$laconic" fed run "${long[@]}" -o "$work/killed" >/dev/null 2>&1 &
  pid=$!
  until [ "$(wc -l 2>/dev/null <"$work/killed/rounds.jsonl" || echo 0)" -ge "$lines" ]; do
    kill -0 "$pid" 2>/dev/null || fail "ended before line $lines"
    sleep 0.002
  done
  kill -9 "$pid" || fail "ended before it was killed at line $lines"
  wait "$pid" 2>/dev/null || true
  expect 0 'report.html' -- fed resume "$work/killed"
  cmp "$work/whole/rounds.jsonl" "$work/killed/rounds.jsonl" || fail "killed at line $lines: other evaluations"
  diff <(grep -h _hash "$work"/whole/runs/*) <(grep -h _hash "$work"/killed/runs/*) || fail "killed at line $lines: other bits"
done

# A client's part holds the numbers that the whole computes with.
expect 0 'part-0 to .*part-3: 160 samples' -- fed split --data 'generate:logistic(samples=40, test=50)' --clients 4 -o "$work/parts"
[ -s "$work/parts/part-3/samples.safetensors" ] && [ -s "$work/parts/test/samples.safetensors" ] || fail 'no parts'
expect 2 '--clients 5: .*part-3 was cut for 4' -- fed run --data "$work/parts/part-3" --clients 5 --sample 1 -o "$work/part"

# A simulated clock, failing and late clients, a model of squared errors.
expect 0 'sim. s' -- fed run --data 'generate:least-squares(samples=20, test=100)' --clients 10 --sample 5 --rounds 8 --eval-every 4 \
  --method scaffold --lr 0.02 --network 'network(up=uniform(1Mbit, 20Mbit), down=50Mbit, latency=20ms, step=5ms)' \
  --failure-rate 0.2 --deadline 0.5 -o "$work/clock"
grep -q '"test_accuracy":null' "$work/clock/rounds.jsonl" || fail 'least squares have no accuracy'
expect 0 -- report "$work/clock" -o "$work/clock.html"
cmp "$work/clock.html" "$work/clock/report.html" || fail 'laconic report DIR makes another page'
