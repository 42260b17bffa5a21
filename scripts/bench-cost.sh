#!/usr/bin/env bash
# What tracking costs: instructions per keep-alive request, counted by callgrind, and heap bytes per idle
# connection, beside hyper's own HTTP/1 and hyper-util's auto::Builder with GracefulShutdown. And what it costs that
# WebSockets, TLS and HTTP/2 connections can move: instructions per echo of a message beside hyper with
# tokio-tungstenite, per request over TLS 1.3 beside hyper with tokio-rustls, and per request over HTTP/2, also with the
# pings that heirloom has hyper send.
#
#   scripts/bench-cost.sh [--check]
#
# With --check the exit status is 1 if a target is missed: at most 2 % more instructions than hyper without any
# timer, fewer than hyper-util, at most 256 bytes more than hyper.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "bench-cost: valgrind is missing; install it: apt-get install valgrind, or dnf install valgrind" >&2
    exit 2
fi

# Their difference leaves out the start, the connection and the end.
few=2000 many=12000
connections=10000
modes=(hyper hyper-timer heirloom auto)

cargo build --quiet --profile cost --package heirloom-bench --features bench --bin bench-cost --bin bench-live
built=${CARGO_TARGET_DIR:-target}/cost
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the instructions of a command's run; the client is another process, and not counted.
instructions() {
    if ! valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$@" 2>"$scratch/log"; then
        cat "$scratch/log" >&2
        return 1
    fi
    awk '/^(summary|totals):/ { total = $2 } END { print total }' "$scratch/out"
}

# Prints the instructions of one request, or message.
each() {
    local with_few with_many
    with_few=$(instructions "$@" "$few")
    with_many=$(instructions "$@" "$many")
    echo $(((with_many - with_few) / (many - few)))
}

for mode in "${modes[@]}"; do
    cost=$(each "$built/bench-cost" requests "$mode")
    read -r fresh idle < <("$built/bench-cost" heap "$mode" "$connections")
    echo "$mode $cost $fresh $idle"
done | awk -v check="${1:-}" '
    NR == 1 {
        print "                          instructions a request     heap bytes a connection"
        print "                                       vs hyper      fresh      idle  vs hyper"
        name["hyper"] = "hyper http1"; name["hyper-timer"] = "hyper http1, its timer"
        name["heirloom"] = "heirloom"; name["auto"] = "hyper-util auto"
        hyper = $2; bytes = $4
    }
    {
        printf "%-22s %14d   %+7.1f %%   %8d  %8d  %+8d\n", name[$1], $2, 100 * ($2 / hyper - 1), $3, $4, $4 - bytes
        instructions[$1] = $2; idle[$1] = $4
    }
    END {
        if (check == "--check" && (instructions["heirloom"] > 1.02 * hyper ||
            instructions["heirloom"] >= instructions["auto"] || idle["heirloom"] > bytes + 256)) {
            print "bench-cost: a target is missed"
            exit 1
        }
    }'

echo
echo "                          instructions each"
for kind in websocket tls http2 http2-tls; do
    bare=$(each "$built/bench-live" "$kind")
    pings=''
    [[ $kind != http2 ]] || pings=$(each "$built/bench-live" http2-pings)
    ours=$(each "$built/bench-live" "$kind-heirloom")
    echo "$kind $bare $ours $pings"
done | awk '
    BEGIN {
        what["websocket"] = "WebSocket echo"; what["tls"] = "TLS 1.3 request"
        what["http2"] = "HTTP/2 request"; what["http2-tls"] = "HTTP/2 over TLS"
    }
    {
        printf "%-22s %14d\n", what[$1] ", bare", $2
        if ($4) printf "%-22s %14d   %+7.1f %%\n", what[$1] ", pings", $4, 100 * ($4 / $2 - 1)
        printf "%-22s %14d   %+7.1f %%\n", what[$1], $3, 100 * ($3 / $2 - 1)
    }'
