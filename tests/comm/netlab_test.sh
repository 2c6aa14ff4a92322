#!/usr/bin/env bash
# scripts/netlab.sh: what it refuses, and that MPI ranks on a network it made are as slow as the links are.
#   netlab_test.sh NETLAB PROBE      exit 77: skipped, since this machine or user cannot have network namespaces
set -euo pipefail
netlab=$1
probe=$2
name=t$(($$ % 10000000))

fail() { echo "FAILED: $*" >&2; exit 1; }

# refuses MESSAGE ARGS...: exit status 2 and this message.
refuses() {
  local output status=0
  output=$("$netlab" --name "$name" "${@:2}" 2>&1) || status=$?
  [[ $status -eq 2 ]] || fail "netlab.sh ${*:2}: exit status $status, not 2: $output"
  [[ $output == *"$1"* ]] || fail "netlab.sh ${*:2}: \"$output\" does not say \"$1\""
}
refuses 'number of hosts 1 is not in 2 to 250' up 1 1Gbit
refuses 'number of hosts "two" is not a number' up two 1Gbit
refuses 'rate "1Gbps" is not understood' up 2 1Gbps
refuses 'rate 0Mbit is not in 64kbit to 100Gbit' up 2 0Mbit
refuses 'up takes the number of hosts and a rate' up 2
refuses '"start" is none of up' start
"$netlab" help | grep -q 'netlab.sh up N RATE' || fail "help does not help"

if [[ $(id -u) -ne 0 ]]; then
  refuses 'need root' up 2 100Mbit
  echo "SKIPPED: not root"
  exit 77
fi
can_have_networks() {
  ip netns add "probe-$name" && ip -n "probe-$name" link add veth0 type veth peer name veth1 &&
    ip -n "probe-$name" link add bridge0 type bridge && tc -n "probe-$name" qdisc add dev veth0 root tbf rate 1mbit burst 16k limit 16k
}
possible=true
reason=$(can_have_networks 2>&1) || possible=false
ip netns delete "probe-$name" 2>/dev/null || true
$possible || { echo "SKIPPED: no network namespaces here: $reason"; exit 77; }

refuses "there is no network \"$name\"" stats
trap '"$netlab" --name "$name" down' EXIT
"$netlab" --name "$name" up 2 100Mbit
refuses 'is there already' up 2 100Mbit
refuses 'host "2" is not in 0 to 1' exec 2 true

# shellcheck disable=SC2016  # the hosts' shells expand these
ranks=$("$netlab" --name "$name" run bash -c 'echo "$RANK of $WORLD_SIZE at $NETLAB_ADDRESS"' 2>&1 | sort)
[[ $ranks == $'0 of 2 at 10.77.0.1\n[1] 1 of 2 at 10.77.0.2' ]] || fail "run: $ranks"
status=0
# shellcheck disable=SC2016
"$netlab" --name "$name" run bash -c 'exit $((RANK * 7))' || status=$?
[[ $status -eq 7 ]] || fail "run: exit status $status of a command that gives 7"

# A bucket that passes 100 Mbit/s after a burst of 50,000 bytes lets 2 MiB through in no less than
# 8 x (2097152 - 50000) / 1e8 = 0.1637 s.
"$netlab" --name "$name" mpirun "$probe" 2097152 0.1637 || fail "the links are faster than 100 Mbit/s"
sent=$("$netlab" --name "$name" stats | awk '$1 == 0 { print $2 }')
((sent >= 2097152)) || fail "host 0 has sent $sent bytes: the ranks do not talk over the network"

"$netlab" --name "$name" down
! ip netns list | grep -q "netlab-$name-" || fail "down leaves namespaces behind"
echo passed
