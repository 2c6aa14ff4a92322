#!/usr/bin/env bash
set -euo pipefail

help() {
  cat <<'HELP'
netlab.sh: a network of N hosts on this machine, with links of a chosen rate, over which real TCP runs.

  netlab.sh up N RATE              2 to 250 hosts, each with a link of RATE to one switch
  netlab.sh rate RATE              other links for the hosts that are there
  netlab.sh mpirun [OPTIONS] CMD   Open MPI's mpirun across the hosts, one rank on each
  netlab.sh run CMD                CMD on every host at once, without MPI
  netlab.sh exec K CMD             CMD on host K only, counted from 0
  netlab.sh stats                  what each host has sent and received, and what its link has dropped
  netlab.sh down                   removes the network and ends what still runs in it

RATE is 100Mbit, 1Gbit, 2.5Gbit, 800kbit, ... or unlimited; it holds for each direction.

  sudo scripts/netlab.sh up 4 1Gbit
  sudo scripts/netlab.sh mpirun build/release/tests/bench/dense_allreduce --threads 0 --sizes 16M --link 1Gbit
  sudo scripts/netlab.sh rate 100Mbit
  sudo scripts/netlab.sh down

What it is. Every host is a network namespace with an interface eth0 at 10.77.0.(K+1); a veth pair leads to a bridge in a
namespace of its own; a token bucket (tc tbf) shapes both ends of the pair, so a host can send and receive at RATE at the
same time. All hosts share this machine's cores, memory and files. Nothing outside of the namespaces is touched.
Needs root, iproute2, and a kernel with veth, bridge and tbf; in a container the capabilities NET_ADMIN and SYS_ADMIN.

What to expect. TCP carries 0.956 of RATE (1448 bytes of data in a frame of 1514), within 1 % from 100 Mbit to 1 Gbit.
Each link passes a burst of RATE x 4 ms at once when it was idle (500 KB at 1 Gbit): measure with messages well above that,
or in loops. The round trip is 0.1 to 0.2 ms idle, and up to 40 ms more while a queue is full. Two cores carry 4 to 6 Gbit/s
in all: links above 2 Gbit measure the cores.

  mpirun  OPTIONS are mpirun's and come after these: -n N, one rank a host, no binding, yield when idle, pml ob1 with btl
          tcp,self on the hosts' network. docs/networks.md tells which more help MPI's own collectives.
  run     sets RANK, WORLD_SIZE, LOCAL_RANK=0, MASTER_ADDR, MASTER_PORT=29511, NETLAB_ADDRESS (this host's) and
          NETLAB_INTERFACE=eth0. Rank 0's output is shown as it is, that of rank K marked [K], on stderr. The exit status is
          the first by rank that is not 0.

  --name NAME  (first argument) one of several networks side by side; 1 to 9 of a-z, 0-9; "lab" when not given

Exit status: that of CMD; 1: something failed; 2: bad usage, or this machine or user cannot have such a network.
HELP
}

readonly network=10.77.0
name=lab

usage_error() { echo "netlab.sh: $*" >&2; exit 2; }

# --- Arguments ---

check_count() { # check_count N
  [[ $1 =~ ^[0-9]{1,9}$ ]] || usage_error "number of hosts \"$1\" is not a number from 2 to 250"
  ((10#$1 >= 2 && 10#$1 <= 250)) || usage_error "number of hosts $1 is not in 2 to 250"
}

# bits_per_second RATE: as a whole number, or "unlimited".
bits_per_second() {
  local -A units=([kbit]=1e3 [Mbit]=1e6 [Gbit]=1e9)
  if [[ $1 == unlimited ]]; then
    echo unlimited
  elif [[ $1 =~ ^([0-9]+(\.[0-9]+)?)(kbit|Mbit|Gbit)$ ]]; then
    local bits
    bits=$(awk -v number="${BASH_REMATCH[1]}" -v unit="${units[${BASH_REMATCH[3]}]}" 'BEGIN { printf "%.0f", number * unit }')
    ((bits >= 64000 && bits <= 100000000000)) || usage_error "rate $1 is not in 64kbit to 100Gbit"
    echo "$bits"
  else
    usage_error "rate \"$1\" is not understood: give 100Mbit, 1Gbit, ... (kbit, Mbit, Gbit) or unlimited"
  fi
}

# --- What is there ---

require_root() {
  [[ $(id -u) -eq 0 ]] || usage_error "network namespaces need root: run it with sudo"
  local program
  for program in ip tc; do
    command -v "$program" >/dev/null || usage_error "the program $program is missing: install iproute2"
  done
}

host_namespaces() { ip netns list | awk '{ print $1 }' | grep -E "^netlab-$name-([0-9]+|switch)$" || true; }

hosts() { host_namespaces | grep -vc -- '-switch$' || true; }

require_up() {
  require_root
  count=$(hosts)
  ((count > 0)) || usage_error "there is no network \"$name\": make one with netlab.sh up N RATE"
}

on_host() { ip netns exec "netlab-$name-$1" "${@:2}"; } # on_host K|switch CMD...

address() { echo "$network.$(($1 + 1))"; } # address K

# --- Commands ---

# shape NAMESPACE INTERFACE BITS: a bucket must hold what passes between two timer ticks and one 64 KiB TCP super-packet,
# or the rate is missed (16 KiB at 1 Gbit gives 0.8); the queue behind it is 20 ms long, and never below a few windows.
shape() {
  local bits=$3 burst queue
  ip netns exec "$1" tc qdisc del dev "$2" root 2>/dev/null || true
  [[ $bits == unlimited ]] && return
  burst=$((bits / 8 / 250))
  ((burst < 16384)) && burst=16384
  ((burst > 4194304)) && burst=4194304
  queue=$((bits / 8 / 50 + 262144))
  ip netns exec "$1" tc qdisc add dev "$2" root tbf rate "${bits}bit" burst "$burst" limit "$queue"
}

shape_all() { # shape_all HOSTS BITS
  local k
  for ((k = 0; k < $1; k++)); do
    shape "netlab-$name-$k" eth0 "$2"
    shape "netlab-$name-switch" "port$k" "$2"
  done
}

build() { # build HOSTS BITS: stops at the first command that fails
  local k
  ip netns add "netlab-$name-switch" &&
    on_host switch ip link set lo up &&
    on_host switch ip link add bridge type bridge &&
    on_host switch ip link set bridge up &&
    on_host switch ip address add "$network.254/24" dev bridge || return 1
  for ((k = 0; k < $1; k++)); do
    ip netns add "netlab-$name-$k" &&
      on_host "$k" ip link set lo up &&
      ip link add eth0 netns "netlab-$name-$k" type veth peer name "port$k" netns "netlab-$name-switch" &&
      on_host switch ip link set "port$k" master bridge up &&
      on_host "$k" ip address add "$(address "$k")/24" dev eth0 &&
      on_host "$k" ip link set eth0 up || return 1
  done
  shape_all "$1" "$2"
}

up() {
  [[ $# -eq 2 ]] || usage_error "up takes the number of hosts and a rate, as in: netlab.sh up 4 1Gbit"
  local bits errors
  check_count "$1"
  bits=$(bits_per_second "$2")
  require_root
  [[ -z $(host_namespaces) ]] || usage_error "network \"$name\" is there already: netlab.sh down removes it"
  trap 'tear_down; exit 1' INT TERM
  if ! errors=$(build "$((10#$1))" "$bits" 2>&1); then
    tear_down
    echo "netlab.sh: this machine cannot make the network: $errors" >&2
    echo "netlab.sh: in a container the capabilities NET_ADMIN and SYS_ADMIN are needed" >&2
    exit 2
  fi
}

rate() {
  [[ $# -eq 1 ]] || usage_error "rate takes a rate, as in: netlab.sh rate 100Mbit"
  local bits
  bits=$(bits_per_second "$1")
  require_up
  shape_all "$count" "$bits"
}

tear_down() {
  local namespace pid
  for namespace in $(host_namespaces); do
    for pid in $(ip netns pids "$namespace"); do kill "$pid" 2>/dev/null || true; done
    ip netns delete "$namespace"
  done
}

down() {
  [[ $# -eq 0 ]] || usage_error "down takes no arguments"
  require_root
  tear_down
}

run() {
  [[ $# -gt 0 ]] || usage_error "run takes a command"
  require_up
  local k status=0 pids=()
  for ((k = 0; k < count; k++)); do
    local settings=(env "RANK=$k" "WORLD_SIZE=$count" LOCAL_RANK=0 "MASTER_ADDR=$(address 0)" MASTER_PORT=29511
      "NETLAB_ADDRESS=$(address "$k")" NETLAB_INTERFACE=eth0)
    if ((k == 0)); then
      on_host 0 "${settings[@]}" "$@" &
    else
      on_host "$k" "${settings[@]}" "$@" > >(sed "s/^/[$k] /" >&2) 2> >(sed "s/^/[$k] /" >&2) &
    fi
    pids+=($!)
  done
  for ((k = 0; k < count; k++)); do
    local this=0
    wait "${pids[k]}" || this=$?
    ((status != 0)) || status=$this
  done
  return "$status"
}

exec_on() {
  [[ $# -ge 2 ]] || usage_error "exec takes the number of a host and a command"
  require_up
  if [[ ! $1 =~ ^[0-9]{1,9}$ ]] || ((10#$1 >= count)); then
    usage_error "host \"$1\" is not in 0 to $((count - 1))"
  fi
  on_host "$@"
}

# mpirun starts in the switch's namespace and, instead of ssh, calls this script as: agent [ssh options] ADDRESS COMMAND.
# A host name of its own makes Open MPI take every namespace for another machine.
agent() {
  while [[ ${1:-} == -* ]]; do shift; done
  local k=$((${1##*.} - 1))
  shift
  # shellcheck disable=SC2016  # the inner shell expands these
  exec ip netns exec "netlab-$name-$k" unshare --uts bash -c 'hostname "$1"; shift; eval "$*"' agent "$name$k" "$@"
}

open_mpi() {
  [[ $# -gt 0 ]] || usage_error "mpirun takes a command"
  require_up
  local program k addresses="" scratch status=0
  program=$(command -v mpirun.openmpi || command -v mpirun) || usage_error "mpirun is missing: install openmpi-bin"
  for ((k = 0; k < count; k++)); do addresses+="${addresses:+,}$(address "$k"):1"; done
  scratch=$(mktemp -d)
  printf '#!/usr/bin/env bash\nexec %q --name %q agent "$@"\n' "$(readlink -f "$0")" "$name" >"$scratch/agent"
  chmod +x "$scratch/agent"
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 on_host switch "$program" -n "$count" --host "$addresses" \
    --mca plm_rsh_agent "$scratch/agent" --mca plm_rsh_no_tree_spawn 1 --bind-to none --mca mpi_yield_when_idle 1 \
    --mca pml ob1 --mca btl tcp,self --mca btl_tcp_if_include "$network.0/24" --mca oob_tcp_if_include "$network.0/24" \
    "$@" || status=$?
  rm -rf "$scratch"
  return "$status"
}

stats() {
  [[ $# -eq 0 ]] || usage_error "stats takes no arguments"
  require_up
  local k
  printf '%5s %15s %15s %10s %10s\n' host sent_bytes received_bytes dropped_up dropped_down
  for ((k = 0; k < count; k++)); do
    printf '%5d %15d %15d %10d %10d\n' "$k" "$(on_host "$k" cat /sys/class/net/eth0/statistics/tx_bytes)" \
      "$(on_host "$k" cat /sys/class/net/eth0/statistics/rx_bytes)" "$(dropped "$k" eth0)" "$(dropped switch "port$k")"
  done
}

dropped() { # dropped HOST INTERFACE: packets
  on_host "$1" tc -s qdisc show dev "$2" root | sed -nE 's/.*dropped ([0-9]+),.*/\1/p' | head -n 1
}

if [[ ${1:-} == --name ]]; then
  [[ ${2:-} =~ ^[a-z0-9]{1,9}$ ]] || usage_error "name \"${2:-}\" is not 1 to 9 of a-z and 0-9"
  name=$2
  shift 2
fi
command=${1:-}
(($# == 0)) || shift
case $command in
  up | rate | run | stats | down | agent) "$command" "$@" ;;
  exec) exec_on "$@" ;;
  mpirun) open_mpi "$@" ;;
  help | -h | --help) help ;;
  "") help >&2; exit 2 ;;
  *) usage_error "\"$command\" is none of up, rate, mpirun, run, exec, stats, down, help" ;;
esac
