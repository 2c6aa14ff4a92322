#!/usr/bin/env bash
# 100 steps = 50, kill -9, resume, 50: bit for bit. And on another number of ranks by a declared rule, or not at all.
source "$(dirname "$0")/common.sh"
common=(--batch 32 --seed 3)  # the learning rate goes with the optimizer

# unbroken_and_resumed OPTIMIZER SPEC LR STEP: saved at STEP, killed seven steps later, which are lost and must be repeated alike.
unbroken_and_resumed() {
  local run=(--spec "$2" --optimizer "$1" --lr "$3" --steps 100)
  threads 4 "${run[@]}" >"$work/whole" 2>&1 || { cat "$work/whole"; fail "$1, $2"; }
  rm -rf "$work/ck"
  if threads 4 "${run[@]}" --checkpoint "$work/ck" --checkpoint-every "$4" --die-at $(($4 + 7)) >"$work/killed" 2>&1; then
    fail "$1, $2: the run outlived kill -9"
  fi
  threads 4 "${run[@]}" --checkpoint "$work/ck" --resume >"$work/resumed" 2>&1 || { cat "$work/resumed"; fail "$1, $2 resumed"; }
  [ "$(hash_of "$work/whole")" = "$(hash_of "$work/resumed")" ] ||
    fail "$2 with $1: $(hash_of "$work/whole") unbroken, $(hash_of "$work/resumed") resumed"
  echo "ok $2 with $1: $(hash_of "$work/whole") unbroken and resumed after kill -9 at step $(($4 + 7))"
}

for spec in "${specs[@]}"; do
  unbroken_and_resumed 'sgd(momentum=0.9)' "$spec" 0.05 50
  unbroken_and_resumed adamw "$spec" 0.001 50
done
# In the warm-up, across the freeze at step 60, and after it; where ranks step alone, between two exchanges too (step 87, the third after
# that of step 84).
one_bit='sign(scale=rms)+ef+scatter'
for at in 30 55 80; do
  unbroken_and_resumed 'onebit-adam(freeze_step=60)' "$one_bit" 0.001 "$at"
done
unbroken_and_resumed 'onebit-lamb(freeze_step=40)' "$one_bit" 0.001 50
for at in 35 55 87; do
  unbroken_and_resumed 'zero-one-adam(var_freeze_step=60, kappa=8, local_step_scaler=10)' "$one_bit" 0.001 "$at"
done

spec='topk(ratio=0.01)+econtrol'
common+=(--lr 0.05)
rm -rf "$work/ck"
threads 4 --spec "$spec" --steps 50 --checkpoint "$work/ck" >"$work/four" 2>&1 || { cat "$work/four"; fail "four ranks"; }
if threads 2 --spec "$spec" --steps 100 --checkpoint "$work/ck" --resume >"$work/refused" 2>&1; then
  fail "4 -> 2 ranks without a rule was not refused"
fi
grep -q 'mean' "$work/refused" || { cat "$work/refused"; fail "the refusal does not name the rules"; }
for rule in mean reset; do
  cp -r "$work/ck" "$work/ck-$rule"
  threads 2 --spec "$spec" --steps 100 --checkpoint "$work/ck-$rule" --resume --reshard "$rule" >"$work/$rule" 2>&1 ||
    { cat "$work/$rule"; fail "4 -> 2 ranks by $rule"; }
  echo "ok 4 -> 2 ranks by $rule: $(hash_of "$work/$rule")"
done
