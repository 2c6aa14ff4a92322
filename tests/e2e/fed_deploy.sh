#!/usr/bin/env bash
# A run served over gRPC with mutual TLS to eight client processes gives the simulation's model, bit for bit: undisturbed, and with
# the server and clients killed with -9 at random moments (SERVER_KILLS, CLIENT_KILLS, over ROUNDS). Afterwards the journal's audit finds nothing.
#   fed_deploy.sh LACONIC
set -euo pipefail
laconic=$1
rounds=${ROUNDS:-40} server_kills=${SERVER_KILLS:-3} client_kills=${CLIENT_KILLS:-6} seed=${SEED:-$RANDOM}
RANDOM=$seed
clients=8
work=$(mktemp -d)
pids=()
cleanup() {
  local pid
  for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
fail() {
  echo "FAILED (SEED=$seed): $*" >&2
  tail -n 5 "$work"/*.log >&2 || true
  exit 1
}

data="generate:logistic(features=200)"
problem=(--data "$data" --clients $clients --sample 4 --rounds "$rounds" --local-steps 5 --eval-every 20
  --method "scafcom(beta=0.2)" --compress "topk(ratio=0.05)" --down "topk(ratio=0.2)")
hash_in() { grep -ohE '"model_hash": *"[0-9a-f]{16}"' "$1"/runs/*.json | grep -oE '[0-9a-f]{16}' | head -n 1; }

"$laconic" fed run "${problem[@]}" --seeds 3 -o "$work/simulated" >"$work/run.log" 2>&1 || fail "the simulation"
expected=$(hash_in "$work/simulated")
[[ -n $expected ]] || fail "the simulation left no hash"
"$laconic" fed certs --clients $clients -o "$work/certs" >/dev/null

# serve FOLDER PORT: in the background; sets $server. Port 0: any, found in $port.
serve() {
  : >"$work/serve.out"
  "$laconic" fed serve "${problem[@]}" --seed 3 --certs "$work/certs" -o "$1" --address "127.0.0.1:$2" --quorum 4 --deadline 60 --linger 4 \
    >"$work/serve.out" 2>>"$work/serve.log" &
  server=$!
  pids+=("$server")
  until grep -q "at port" "$work/serve.out"; do
    kill -0 "$server" 2>/dev/null || fail "the server did not start: $(cat "$work/serve.log")"
    sleep 0.05
  done
  port=$(grep -oE 'at port [0-9]+' "$work/serve.out" | grep -oE '[0-9]+$')
}
# client FOLDER ID: in the background; its pid is client_pid[ID].
client_pid=()
client() {
  "$laconic" fed client --id "$2" --data "$data" --server "127.0.0.1:$port" --certs "$work/certs" --state "$1/state-$2" --retry-for 60 \
    >>"$work/client-$2.log" 2>&1 &
  client_pid[$2]=$!
  pids+=("$!")
}
await() { # FOLDER: all end well, and the model is the simulation's
  local id
  wait "$server" || fail "the server ended with $?"
  for ((id = 0; id < clients; id++)); do
    wait "${client_pid[$id]}" || fail "client $id ended with $?"
  done
  [[ $(hash_in "$1") == "$expected" ]] || fail "model $(hash_in "$1") in $1, simulated $expected"
}

serve "$work/quiet" 0
for ((id = 0; id < clients; id++)); do client "$work/quiet-clients" $id; done
await "$work/quiet"
echo "ok: $clients client processes over mutual TLS, model $expected as simulated"

serve "$work/killed" 0
for ((id = 0; id < clients; id++)); do client "$work/killed-clients" $id; done
# Kills in a random order, each after a random part of a second. The server comes back at its port.
kills=()
for ((i = 0; i < server_kills; i++)); do kills+=(server); done
for ((i = 0; i < client_kills; i++)); do kills+=(client); done
done_kills=0
while ((${#kills[@]} > 0)); do
  at=$((RANDOM % ${#kills[@]}))
  what=${kills[$at]}
  unset "kills[$at]"
  kills=("${kills[@]}")
  sleep "0.$((RANDOM % 4))$((RANDOM % 10))"
  kill -0 "$server" 2>/dev/null || break  # the run is over
  if [[ $what == server ]]; then
    kill -9 "$server"
    wait "$server" 2>/dev/null || true
    serve "$work/killed" "$port"
  else
    id=$((RANDOM % clients))
    kill -9 "${client_pid[$id]}" 2>/dev/null || true
    wait "${client_pid[$id]}" 2>/dev/null || true
    client "$work/killed-clients" $id
  fi
  done_kills=$((done_kills + 1))
done
await "$work/killed"
faults=$("$laconic" fed audit "$work/killed") || fail "the audit found: $faults"
echo "ok: $done_kills of $((server_kills + client_kills)) kills before the end, model $expected as simulated, audit empty (SEED=$seed)"
