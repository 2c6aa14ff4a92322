#!/usr/bin/env bash
# The papers' claims, tried on data that is at hand: one name an experiment, each with seeds and spread, a table, JSON and a plot.
# docs/experiments.md has the results and what the papers say.
#
#   scripts/experiments.sh [options] [name...]       all of them when none is named
#     --list              the names, one a line, and what each tries
#     --quick             a few steps of each: that it runs, not what it shows
#     --seeds 1,2,3       one run of every method for each
#     -o FOLDER           where JSON, tables and plots go (build/experiments); a run whose JSON is there is not made again
#     --publish           also copy tables and plots to docs/figures
#     --bin FOLDER        a build with the trainer and tools (build/release; built when it is not there)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
self=$root/scripts/experiments.sh

mapfile -t all < <(sed -n 's/^experiment_\([a-z_]*\)() {  # .*/\1/p' "$self" | tr _ -)
quick='' seeds=1,2,3 output=$root/build/experiments publish='' bin=$root/build/release names=()
fail() { echo "experiments: $*" >&2; exit 2; }
while (($#)); do
  case $1 in
    -h | --help) sed -n '2,/^set -euo/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    --list) sed -n 's/^experiment_\([a-z_]*\)() {  # /\1: /p' "$self"; exit 0 ;;
    --quick) quick=yes seeds=1 ;;
    --publish) publish=yes ;;
    --seeds | -o | --bin) [[ $# -ge 2 ]] || fail "$1 needs a value"
      case $1 in --seeds) seeds=$2 ;; -o) output=$(realpath -m "$2") ;; --bin) bin=$(realpath "$2") ;; esac
      shift ;;
    -*) fail "unknown option $1; --help lists them" ;;
    *) [[ " ${all[*]} " == *" $1 "* ]] || fail "unknown experiment $1; there are ${all[*]}"
      names+=("$1") ;;
  esac
  shift
done
[[ ${#names[@]} -gt 0 ]] || names=("${all[@]}")

cd "$root"
train=$bin/examples/train econtrol=$bin/examples/econtrol distortion=$bin/examples/distortion laconic=$bin/tools/laconic
if [[ ! -x $train || ! -x $econtrol || ! -x $distortion || ! -x $laconic ]]; then
  [[ $bin == "$root/build/release" ]] || fail "$bin holds no examples/train, econtrol, distortion and tools/laconic"
  cmake --preset release -DLACONIC_BUILD_TESTS=OFF -DLACONIC_BUILD_EXAMPLES=ON -DLACONIC_BUILD_TOOLS=ON --log-level=WARNING
  cmake --build --preset release --target train econtrol distortion laconic_tool
fi
mkdir -p "$output"

# What one experiment leaves: $output/NAME/*.json, $output/NAME.md, $output/NAME.svg.
name=''
begin() {  # what is tried
  echo; echo "== $name: $*"
  mkdir -p "$output/$name"
  : >"$output/$name.md"
}
table() { "$laconic" report "$output/$name"/*.json --table "$@" | tee -a "$output/$name.md"; }
plot() { "$laconic" report "$output/$name"/*.json --svg "$output/$name.svg" "$@"; }

# One method, each seed: method LABEL [option of train...], after the options that all methods of the experiment share. `rate` is
# the learning rate, `launch` what starts the trainer where ranks are no threads.
number=0 rate=0 launch=()
method() {
  local label=$1 seed json
  shift
  number=$((number + 1))  # files sort, and so rows, in the order of the methods
  for seed in ${seeds//,/ }; do
    json=$output/$name/$(printf %02d "$number")-$(tr -c 'A-Za-z0-9\n' - <<<"$label")-$seed.json
    [[ -e $json ]] && continue
    "${launch[@]}" "$train" "${shared[@]}" --lr "$rate" --seed "$seed" --label "$label" --json "$json" "$@" >"$json.log" 2>&1 ||
      { tail -n 5 "$json.log" >&2; rm -f "$json"; fail "$name: $label failed; its log is $json.log"; }
    rm "$json.log"
  done
}

# EControl's own experiments are one program.
small_problem() {
  [[ -e $output/$name/runs.json ]] || "$econtrol" "$name" ${quick:+--quick} --json "$output/$name/runs.json" >/dev/null
}

experiment_least_squares() {  # EControl, EF, EF21 and others where ranks' data differ by zeta
  begin "synthetic least squares of unequal ranks, top-10 %, noise of variance 1"
  small_problem
  table floor
  local where="n=10 zeta=10"
  [[ -z $quick ]] || where="n=4 zeta=10"
  plot --case "$where" --y measure --log-y --title "Least squares, $where, top-10 %" --y-title "|grad f|²"
}

experiment_noise_floor() {  # EF21's noise floor on equal ranks, and who has none
  begin "|x|²/2 with noise of three values on 10 equal ranks, top-1 of 2"
  small_problem
  table floor
  plot --x gamma --y floor --log-x --log-y --title "Noise floor, 10 ranks, top-1 of 2" --x-title "learning rate" \
    --y-title "|grad f|², mean of the last half"
}

experiment_speed_up() {  # error against the number of ranks
  begin "heterogeneous quadratic with noise, top-2 of 20, n ranks"
  small_problem
  table floor
  plot --x n --y floor --log-x --log-y --title "Linear speed-up, top-2 of 20" --y-title "|x - x*|², mean of the last half"
}

experiment_logistic() {  # logistic regression, one class of Fashion-MNIST a rank
  begin "logistic regression on Fashion-MNIST, one class a rank, top-1 %"
  small_problem
  if [[ -n $quick ]]; then table t=20; else table t=100,t=500,t=1000,t=2000,floor; fi
  plot --y measure --log-y --title "Logistic regression, 10 ranks with one class each, top-1 %" --y-title "|grad f|²"
}

# Federated: 200 clients of whom 20 take part in a round, 10 local steps of 32 samples at rate 0.1.
#   federated TITLE TARGET [option of laconic fed run...]
federated() {
  local title=$1 target=$2 two four top
  shift 2
  two='quantize(bits=2, block=512, rounding=stochastic)' four='quantize(bits=4, block=512, rounding=stochastic)'
  top='topk(ratio=0.01)'
  local options=(--clients 200 --sample 20 --local-steps 10 --batch 32 --lr 0.1 --eval-every 20 --target "$target" "$@")
  [[ -z $quick ]] || options+=(--rounds 2 --eval-every 1)
  if [[ ! -e $output/$name/fed/results.json ]]; then
    rm -rf "$output/$name/fed"
    "$laconic" fed run "${options[@]}" --seeds "$seeds" --name "$title" -o "$output/$name/fed" --method \
      "fedavg,fedpaq+$two,scaffold,scallion(alpha=0.1)+$two,scallion(alpha=1)+$four,fed-ef+$top,scafcom(beta=0.2)+$top" >/dev/null
  fi
  sed -e 's/"fedavg, fp32"/"FedAvg, fp32"/g; s/"fedpaq + [^"]*"/"FedPAQ, 2 bit"/g; s/"scaffold, fp32"/"SCAFFOLD, fp32"/g' \
    -e 's/"scallion(alpha=0.1) [^"]*"/"SCALLION, 2 bit"/g; s/"scallion(alpha=1) [^"]*"/"SCALLION, 4 bit"/g' \
    -e 's/"fed-ef + [^"]*"/"Fed-EF, top-1 %"/g; s/"scafcom(beta=0.2) [^"]*"/"SCAFCOM, top-1 %"/g' \
    "$output/$name/fed/curves.json" >"$output/$name/curves.json"
  table test_accuracy,test_loss,bits_per_parameter,uplink_bytes --against "FedAvg, fp32"
  plot --x uplink_bytes --y test_accuracy --log-x --title "$title" --x-title "bytes sent by all clients" --y-title "test accuracy"
}

experiment_federated_logistic() {  # SCALLION and SCAFCOM against SCAFFOLD, FedPAQ, Fed-EF; two label shards a client
  begin "federated logistic regression on Fashion-MNIST, two label shards a client"
  federated "Logistic regression, 200 clients with two label shards each" 0.82 --rounds 1000
}

experiment_federated_mlp() {  # the same with a perceptron of 128 hidden units
  begin "federated perceptron 784-128-10 on Fashion-MNIST, two label shards a client"
  federated "Perceptron 784-128-10, 200 clients with two label shards each" 0.8 --model "mlp(hidden=128)" --rounds 500
}

experiment_federated_dirichlet() {  # the same logistic regression where labels are spread by Dirichlet(0.3)
  begin "federated logistic regression on Fashion-MNIST, labels spread by Dirichlet(0.3)"
  federated "Logistic regression, 200 clients, Dirichlet(0.3)" 0.82 --split dirichlet=0.3 --rounds 1000
}

# 1-bit Adam and its relatives against Adam at equal steps; they freeze after 25 %, the papers' rule of thumb being 15 to 25.
onebit_methods() {  # title, learning rate of LAMB
  local freeze=$((steps / 4)) b=beta2=0.99
  method "Adam" --optimizer "adamw($b)" --spec dense
  method "1-bit Adam" --optimizer "onebit-adam($b, freeze_step=$freeze)"
  method "1-bit Adam, auto" --optimizer "onebit-adam($b, freeze_step=auto)"
  method "0/1 Adam" \
    --optimizer "zero-one-adam($b, var_freeze_step=$freeze, kappa=4, local_step_scaler=$freeze, local_step_clipper=4)"
  rate=$2 method "LAMB" --optimizer "lamb($b)" --spec dense
  rate=$2 method "1-bit LAMB" --optimizer "onebit-lamb($b, freeze_step=$freeze)"
  rate=$2 method "LAMB, beta2 0.999" --optimizer "lamb(beta2=0.999)" --spec dense
  rate=$2 method "1-bit LAMB, beta2 0.999" --optimizer "onebit-lamb(beta2=0.999, freeze_step=$freeze)"
  table test_loss,test_accuracy,wire_bytes,last_step_wire_bytes --against Adam
  plot --x wire_bytes --y loss --log-x --title "$1, 4 ranks"
}

experiment_onebit_mlp() {  # 1-bit Adam, 0/1 Adam and 1-bit LAMB against Adam, Fashion-MNIST
  begin "Adam and the 1-bit family, perceptron on Fashion-MNIST"
  local steps=1000 rate=0.001
  shared=(--batch 32 --schedule "linear(final=0.0001)" --min-bytes 0)
  if [[ -n $quick ]]; then steps=30 shared+=(--hidden 16); fi
  shared+=(--steps "$steps")
  onebit_methods "Perceptron on Fashion-MNIST" 0.01
}

experiment_onebit_transformer() {  # 1-bit Adam, 0/1 Adam and 1-bit LAMB against Adam, characters of a text
  begin "Adam and the 1-bit family, character transformer"
  local steps rate smallest=0
  share_transformer
  onebit_methods "Character transformer" 0.01
}

# What all methods on the transformer share.
share_transformer() {
  steps=500 rate=0.004
  shared=(--model transformer --context 32 --batch 4 --min-bytes "${smallest:-1K}" --schedule "linear(final=0.0004, warmup=20)")
  if [[ -n $quick ]]; then
    steps=10
    shared=(--model transformer --blocks 1 --width 16 --context 16 --batch 4)
  fi
  shared+=(--steps "$steps")
}

experiment_outer_loops() {  # local SGD, DiLoCo and SparseLoCo against Adam with an exchange in every step, characters of a text
  begin "outer loops, character transformer"
  local steps rate far=25
  [[ -z $quick ]] || far=5
  share_transformer
  method "Adam, every step" --optimizer adamw --spec dense
  method "local Adam, 5 steps" --optimizer "local-sgd(inner=adamw, steps=5)" --spec dense
  method "DiLoCo, $far steps" --optimizer "diloco(steps=$far)" --spec dense
  method "SparseLoCo, $far steps" --optimizer "sparseloco(steps=$far)" --spec "topk(chunk=4096, k=64, values=q2)+ef(decay=0.95)+gather"
  table test_loss,test_accuracy,wire_bytes --against "Adam, every step"
  plot --x step --y loss --title "Character transformer, 4 ranks, outer loops"
}

experiment_distortion() {  # TurboQuant's error a bit against its bounds, on normal, heavy-tailed and one-hot data
  begin "distortion a bit of a random rotation with the best scalar quantiser"
  local count=${seeds//[^,]/}
  [[ -e $output/$name/runs.json ]] ||
    "$distortion" ${quick:+--quick} --seeds $((${#count} + 1)) --json "$output/$name/runs.json" >/dev/null
  table distortion
  plot --x bits --y distortion --log-y --title "Distortion a bit" --x-title "bits" --y-title "|C(x) - x|² / |x|²"
}

# Each family under one setting for all layers, and under one each.
layers() {  # title, steps, learning rate, min_bytes, options of the model...
  local title=$1 steps=$2 rate=$3 smallest=$4
  shift 4
  local every=100
  [[ -z $quick ]] || steps=30 every=10
  shared=("$@" --ranks 4 --batch 32 --optimizer "sgd(momentum=0.9)" --steps "$steps" --min-bytes "$smallest"
    --schedule "step(every=$((steps * 7 / 10)), factor=0.1)")
  method "quantize uniform" --spec "quantize(bits=4, block=128)+ef+gather"
  method "quantize adaptive" --spec "adaptive(family=quantize(block=128), budget=uniform:4, every=$every)+ef+gather"
  method "topk uniform" --spec "topk(ratio=0.01)+ef+gather"
  method "topk adaptive" --spec "adaptive(family=topk, budget=uniform:0.01, every=$every)+ef+gather"
  method "lowrank uniform" --spec "lowrank(rank=4)+ef+linear"
  method "lowrank adaptive" --spec "adaptive(family=lowrank, budget=uniform:4, every=$every)+ef+linear"
  table test_accuracy,wire_bytes
  plot --x wire_bytes --y loss --log-y --title "One setting for all layers, and one each: $title" --y-title "training loss"
}
experiment_layers() {  # L-GreCo: each layer its own setting of a codec, against one for all; perceptron
  begin "perceptron of four layers on Fashion-MNIST, 4 ranks x 32 samples, error feedback, a plan every 100 steps"
  layers "perceptron" 1500 0.05 2K --model mlp --hidden 512,256,128
}
experiment_layers_cnn() {  # the same on a convolutional network
  begin "CNN on Fashion-MNIST, 4 ranks x 32 samples, error feedback, a plan every 100 steps"
  layers "CNN" 1000 0.05 1K --model cnn
}

experiment_layers_time() {  # L-GreCo: plans of least time against those of least bytes, on 100 Mbit and 1 Gbit (as root by TCP)
  begin "plans of least bytes and of least time, perceptron, 4 ranks on links of 100 Mbit and 1 Gbit, a plan every 50 steps"
  local rate=0.05 plan="every=50, warmup=50" planned=50 links="100Mbit 1Gbit" once=$seeds
  local family codec uniform strategy seed link objective objectives="bytes time" label
  local launch=() on_link=()
  shared=(--model mlp --hidden 512,256,128 --batch 32 --optimizer "sgd(momentum=0.9)" --steps 150)
  if [[ -n $quick ]]; then
    plan="every=10, warmup=10, window=5" planned=10 links=1Gbit
    shared=(--hidden 64 --batch 8 --steps 30)
  fi
  # The two that are compared run one after the other, each first in turn, whatever else the machine does.
  for seed in ${once//,/ }; do
    seeds=$seed number=0
    for link in $links; do
      if [[ -n $quick || $(id -u) != 0 ]]; then
        on_link=(--link "$link")  # paced by the trainer, ranks as threads
      else
        scripts/netlab.sh --name exp up 4 "$link" && trap 'scripts/netlab.sh --name exp down' EXIT
        launch=(scripts/netlab.sh --name exp mpirun)
      fi
      for family in "topk 0.01 gather" "lowrank 4 linear" "quantize(block=128) 4 gather"; do
        read -r codec uniform strategy <<<"$family"
        for objective in $objectives; do
          label="${codec%(*}, $link, $objective"
          method "$label" "${on_link[@]}" --metrics "$output/$name/$label, $seed.jsonl" \
            --spec "adaptive(family=$codec, budget=uniform:$uniform, objective=$objective, $plan)+ef+$strategy"
        done
      done
      if [[ ${#launch[@]} -gt 0 ]]; then scripts/netlab.sh --name exp down && trap - EXIT; fi
    done
    objectives=$(tr ' ' '\n' <<<"$objectives" | tac | tr '\n' ' ')
  done
  seeds=$once
  step_medians "$planned" | tee -a "$output/$name.md"
  plot --x wire_bytes --y loss --log-x --title "Plans of least bytes and of least time, perceptron"
}
# A row a label of "LABEL, SEED.jsonl" files of one JSON object a step: the median over all seeds' steps from step $1 on of rank 0's
# milliseconds, and the mean of what it sent.
step_medians() {
  local first=$1 file
  echo "| method | median step, ms | a quarter are below, above | bytes a step |"
  echo "|---|---|---|---|"
  for file in "$output/$name"/*.jsonl; do
    sed -n 's/.*"step":\([0-9]*\),.*"wire_bytes":\([0-9]*\),.*"seconds":\([0-9.e-]*\)[,}].*/\1 \2 \3/p' "$file" |
      awk -v first="$first" -v label="$(basename "${file%, *}")" '$1 >= first { printf "%s|%d|%.9f\n", label, $2, $3 }'
  done | sort -t '|' -k 1,1 -k 3,3g | awk -F '|' '
    function row() {
      if (n) printf "| %s | %.1f | %.1f, %.1f | %.0f |\n", label, 1e3 * s[int((n + 1) / 2)], 1e3 * s[int((n + 3) / 4)],
                    1e3 * s[int((3 * n + 1) / 4)], bytes / n
    }
    $1 != label { row(); label = $1; n = bytes = 0 }
    { s[++n] = $3; bytes += $2 }
    END { row() }'
}

for name in "${names[@]}"; do
  number=0 shared=()
  "experiment_${name//-/_}"
  if [[ -n $publish ]]; then
    mkdir -p docs/figures
    cp "$output/$name.md" docs/figures/
    [[ ! -e $output/$name.svg ]] || cp "$output/$name.svg" docs/figures/
  fi
done
