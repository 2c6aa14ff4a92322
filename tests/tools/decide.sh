#!/usr/bin/env bash
# plan, report and compare from outside: LACONIC DATA_FOLDER MODELS_FOLDER
. "$(dirname "$0")/common.sh"
data=$2 models=$3

expect 0 'same' '0 of 30 rows slower' -- compare "$data/allreduce.json" "$data/allreduce.json"
expect 1 'sign\+ef\+scatter, 16 MiB.*SLOWER' '5 of 30 rows' -- compare "$data/allreduce.json" "$data/allreduce_sign_slower.json" --fail-above 5%
expect 0 '0 of 30 rows' -- compare "$data/allreduce.json" "$data/allreduce_sign_slower.json" --fail-above 30%
expect 1 '"slower": true' '"verdict": "slower"' -- compare "$data/allreduce.json" "$data/allreduce_sign_slower.json" --json
expect 2 'no common rows' -- compare "$data/allreduce.json" "$data/codec.json"
expect 2 'cannot read' -- compare "$data/allreduce.json" "$work/none.json"
expect 2 'five' -- compare "$data/allreduce.json" "$data/allreduce.json" --fail-above five

expect 0 'report.html' -- report "$data/allreduce.json" "$data/codec.json" -o "$work/report.html"
[ "$(grep -c '<h3>' "$work/report.html")" -eq 9 ] || fail "report.html has not 9 sections"
expect 2 'cannot read' -- report "$work/none.json" -o "$work/report.html"
expect 2 'cannot write' -- report "$data/codec.json" -o "$work/none/report.html"
echo '{"schema": "laconic-bench", "version": 9}' >"$work/later.json"
expect 2 'version 9' -- report "$work/later.json" -o "$work/report.html"

# A slow link between many ranks: something compressed wins. Short specs keep this fast.
expect 0 '^\* sign\+ef\+scatter' 'Take sign' -- plan --model "$models/cnn.json" --link 10Mbit,rtt=50us --ranks 16 --step-ms 5 --spec sign+ef+scatter
expect 0 '"best": "dense"' 'hide behind' -- plan --model "$models/cnn.json" --link 100Gbit,rtt=1us --ranks 2 --step-ms 500 --spec sign+ef+scatter --json
for model in resnet50 gpt2-small; do
  expect 0 "$model: 1[0-9]* tensors" -- plan --model "$models/$model.json" --link 1Gbit --ranks 8 --step-ms 100 --spec sign+ef+scatter
done
# Threads of one process, whose memory is the link: dense.
expect 0 '^\* dense' 'Stay with dense' -- plan --elements 1M --ranks 4 --spec natural+none+gather

expect 2 'one of --model' -- plan --link 1Gbit --ranks 4
expect 2 'one of --model' -- plan --elements 1M --model "$models/cnn.json"
expect 2 'positive rate' -- plan --elements 1M --link 0Gbit --ranks 4
expect 2 'needs a rate' -- plan --elements 1M --link unlimited --ranks 4
expect 2 'how many ranks' -- plan --elements 1M --link 1Gbit
expect 2 'at most 16 ranks' -- plan --elements 1M --ranks 64
expect 2 'unknown' -- plan --elements 1M --link 1Gbit --ranks 4 --spec nonsense
expect 2 'ef needs a contractive codec' -- plan --elements 1M --link 1Gbit --ranks 4 --spec 'quantize(bits=4, rounding=stochastic)+ef+scatter'
expect 2 'hierarchical is not modelled' -- plan --elements 1M --link 1Gbit --ranks 4 --spec 'sign+ef+hierarchical(local=2)'
expect 2 'cannot read' -- plan --model "$work/none.json" --link 1Gbit --ranks 4
expect 2 'ranks' -- plan --elements 1M --link 1Gbit --ranks 1
expect 2 'of kind codec' -- plan --validate "$data/codec.json" --link 1Gbit --ranks 4
# The figures of this file are made up: what counts is that they are compared.
expect 1 'sign\+ef\+scatter' 'predicted best' 'BEYOND' -- plan --validate "$data/allreduce.json" --from 4M --tolerance 0.1%
