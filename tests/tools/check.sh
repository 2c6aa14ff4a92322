#!/usr/bin/env bash
# `laconic check` passes here and covers every codec with every control it goes with.
source "$(dirname "$0")/common.sh"
expect 0 'checks, 0 failed' -- check
for row in 'topk.* +econtrol +feedback' 'natural +diana +feedback' 'sign +- +promise' 'lowrank.* +- +residual' 'randk.* +- +targets'; do
  grep -qE "^ok +$row" "$work/out" || { cat "$work/out"; fail "no row $row"; }
done
! grep -qE '^[a-zA-Z]+ +topk.* diana' "$work/out" || fail "topk with diana is illegal and must not be checked"
tail -1 "$work/out"
