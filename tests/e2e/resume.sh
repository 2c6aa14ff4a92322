#!/usr/bin/env bash
# 100 steps = 50, kill -9, resume, 50: bit for bit. And on another number of ranks by a declared rule, or not at all.
source "$(dirname "$0")/common.sh"
common=(--batch 32 --seed 3)  # the learning rate goes with the optimizer
for optimizer in 'sgd(momentum=0.9)' 'adamw'; do
  lr=0.05
  [ "$optimizer" = adamw ] && lr=0.001
  for spec in "${specs[@]}"; do
    run=(--spec "$spec" --optimizer "$optimizer" --lr "$lr" --steps 100)
    threads 4 "${run[@]}" >"$work/whole" 2>&1 || { cat "$work/whole"; fail "$spec"; }
    rm -rf "$work/ck"
    # Saved at 50, killed in the middle of step 57: the seven steps since are lost and must be repeated alike.
    if threads 4 "${run[@]}" --checkpoint "$work/ck" --checkpoint-every 50 --die-at 57 >"$work/killed" 2>&1; then
      fail "$spec: the run outlived kill -9"
    fi
    threads 4 "${run[@]}" --checkpoint "$work/ck" --resume >"$work/resumed" 2>&1 || { cat "$work/resumed"; fail "$spec resumed"; }
    [ "$(hash_of "$work/whole")" = "$(hash_of "$work/resumed")" ] ||
      fail "$spec with $optimizer: $(hash_of "$work/whole") unbroken, $(hash_of "$work/resumed") resumed"
    echo "ok $spec with $optimizer: $(hash_of "$work/whole") unbroken and resumed after kill -9 at step 57"
  done
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
