#!/usr/bin/env bash
# Restarts the server of Redis's protocol (examples/frameworks) under Redis's own clients: redis-benchmark, which ends at
# the first error or lost connection, and redis-cli, each of which counts on one connection. Exit status 0: no error, and
# no number was left out or came twice.
#
#   scripts/redis-test.sh [--restarts 20]
#
# Needs redis-cli and redis-benchmark (Debian: redis-tools).
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

restarts=20
while (($#)); do
    case $1 in
    --restarts) restarts=$2 ;;
    *) fail "$1? There is --restarts" ;;
    esac
    shift 2
done
for tool in redis-cli redis-benchmark; do
    command -v "$tool" >/dev/null || fail "$tool is missing (Debian: redis-tools)"
done
redis-cli --version

target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$PWD/$target
cargo build --quiet --locked --manifest-path examples/frameworks/Cargo.toml --target-dir "$target/frameworks" \
    --no-default-features --features key-value --bin key-value

work=$(mktemp -d "$target/redis.XXXXXX")
pid='' clients=()
finish() {
    local each
    for each in "$pid" "${clients[@]}"; do
        [[ -z $each ]] || kill -KILL "$each" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

"$target/frameworks/debug/key-value" 127.0.0.1:0 >"$work/out" 2>"$work/log" &
pid=$!
port=''
for ((look = 0; look < 200 && ${#port} == 0; look++)); do
    sleep 0.05
    port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work/out")
done
[[ -n $port ]] || fail "it does not start: $(<"$work/log")"

# Until told to stop: run after run, each on 16 connections and with four commands in one piece.
benchmark() {
    while [[ ! -e $work/over ]]; do
        redis-benchmark -p "$port" -t set,get,incr -r 1000 -n 30000 -c 16 -P 4 -q 2>&1 | tr '\r' '\n' >"$work/run"
        grep -E '^(SET|GET|INCR): .* requests per second' "$work/run" >>"$work/runs"
    done
}
benchmark &
clients+=($!)
for name in a b c d; do
    redis-cli -e -p "$port" -r 1000000 -i 0.005 INCR "$name" >"$work/count-$name" 2>&1 &
    clients+=($!)
done
# redis-cli connects anew without a word: its socket is known by its inode.
sockets() {
    local each
    for each in "${clients[@]:1}"; do
        find "/proc/$each/fd" -lname 'socket:*' -printf "$each %l\n" | sort
    done
}
for ((look = 0; look < 200; look++)); do
    before=$(sockets)
    [[ $(wc -l <<<"$before") != 4 ]] || break
    sleep 0.05
done

info_pid() { redis-cli -e -p "$port" INFO | tr -d '\r' | sed -n 's/^process_id://p'; }
for ((restart = 1; restart <= restarts; restart++)); do
    old=$pid
    kill -s USR2 "$old"
    for ((look = 0; look < 600; look++)); do
        pid=$(info_pid) || fail "restart $restart: $(<"$work/log")"
        # It answers, and the one before has gone with nothing left to it.
        [[ $pid == "$old" || -e /proc/$old/exe ]] || break
        sleep 0.05
    done
    [[ $pid != "$old" ]] || fail "restart $restart: pid $old still answers: $(<"$work/log")"
done

: >"$work/over"
wait "${clients[0]}" || fail "redis-benchmark: $(<"$work/run")"
[[ $(sockets) == "$before" ]] || fail "a redis-cli has connected anew: $(tail -n 1 "$work"/count-*)"
for each in "${clients[@]:1}"; do
    kill -TERM "$each" 2>/dev/null || fail "a redis-cli has ended: $(tail -n 1 "$work"/count-*)"
    wait "$each" 2>/dev/null || true
done
clients=()
for name in a b c d; do
    numbers=$(grep -c . "$work/count-$name")
    diff <(grep -oE '[0-9]+$' "$work/count-$name") <(seq "$numbers") >"$work/difference" ||
        fail "redis-cli $name: $(head -n 3 "$work/difference")"
    last=$(redis-cli -e -p "$port" GET "$name" | tr -d '"')
    # It may have ended before it printed what it was given last.
    ((last == numbers || last == numbers + 1)) || fail "redis-cli $name has heard $numbers, and $last is kept"
    printf 'redis-cli %s: %s answers on one connection, none missing\n' "$name" "$numbers"
done
printf 'redis-benchmark: %s commands, no error\n' "$((30000 * $(wc -l <"$work/runs")))"
printf '%s restarts\n' "$restarts"

kill -TERM "$pid"
tail --pid="$pid" --sleep-interval=0.05 -f /dev/null
pid=''
