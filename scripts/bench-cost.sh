#!/usr/bin/env bash
# What tracking costs: instructions and allocations per keep-alive request, the former counted by callgrind, and heap bytes
# per idle connection, beside hyper's own HTTP/1, hyper-util's auto::Builder with GracefulShutdown, and axum::serve (which
# has a router more, so heirloom stands there with the same one, too). Then what wrk sees of each, in turns: requests a
# second, and the 99th percentile of its latency, both as ratios to hyper's in the same turn. And what it costs that
# WebSockets, TLS and HTTP/2 connections can move: instructions per echo of a message beside hyper with
# tokio-tungstenite, per request over TLS 1.3 beside hyper with tokio-rustls, and per request over HTTP/2, also with
# hyper's own pings.
#
#   scripts/bench-cost.sh [--check] [--http1]
#
# With --http1 the WebSockets, TLS and HTTP/2 are left out, and without wrk its part. With --check the exit status is 1
# if a target is missed: at most 2 % more instructions than hyper without any
# timer, fewer than hyper-util, at most 256 bytes more than hyper.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "bench-cost: valgrind is missing; install it: apt-get install valgrind, or dnf install valgrind" >&2
    exit 2
fi

check='' http1=''
for argument; do
    case $argument in
    --check) check=--check ;;
    --http1) http1=yes ;;
    *) echo "bench-cost: $argument? There are --check and --http1" >&2; exit 2 ;;
    esac
done

# Their difference leaves out the start, the connection and the end.
few=2000 many=12000
connections=10000
modes=(hyper hyper-timer heirloom auto axum heirloom-axum)
names=("hyper http1" "hyper http1, its timer" heirloom "hyper-util auto" "axum::serve" "heirloom with axum")
# Of wrk, in seconds, and how often each has its turn.
length=3 turns=5

cargo build --quiet --profile cost --package heirloom-bench --features bench --bin bench-cost --bin bench-live
built=${CARGO_TARGET_DIR:-target}/cost
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the instructions of a command's run; the client is another process, and not counted.
instructions() {
    if ! valgrind --tool=callgrind --callgrind-out-file="$scratch/out" "$@" >/dev/null 2>"$scratch/log"; then
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

# MODE: prints the allocations of one request.
allocations() {
    local with_few with_many
    with_few=$("$built/bench-cost" requests "$1" "$few")
    with_many=$("$built/bench-cost" requests "$1" "$many")
    awk -v more=$((with_many - with_few)) -v requests=$((many - few)) 'BEGIN { printf "%.2f", more / requests }'
}

for at in "${!modes[@]}"; do
    mode=${modes[at]} fresh=- idle=-
    cost=$(each "$built/bench-cost" requests "$mode")
    [[ $mode == *axum ]] || read -r fresh idle < <("$built/bench-cost" heap "$mode" "$connections")
    printf '%s\t' "${names[at]}" "$mode" "$cost" "$(allocations "$mode")" "$fresh"
    echo "$idle"
done | awk -F '\t' -v check="$check" '
    NR == 1 {
        print "                          instructions a request  allocations     heap bytes a connection"
        print "                                       vs hyper     a request      fresh      idle  vs hyper"
        hyper = $3; bytes = $6
    }
    {
        printf "%-22s %14d   %+7.1f %%  %12s   %8s  %8s  %8s\n", $1, $3, 100 * ($3 / hyper - 1), $4, $5, $6,
            $6 == "-" ? "-" : sprintf("%+d", $6 - bytes)
        instructions[$2] = $3; idle[$2] = $6
    }
    END {
        if (check == "--check" && (instructions["heirloom"] > 1.02 * hyper ||
            instructions["heirloom"] >= instructions["auto"] || idle["heirloom"] > bytes + 256)) {
            print "bench-cost: a target is missed"
            exit 1
        }
    }'

# MODE: prints what wrk sees of a server of its own: requests a second, and the 99th percentile in microseconds.
seen_by_wrk() {
    local server address
    coproc server { exec "$built/bench-cost" serve "$1"; }
    # shellcheck disable=SC2154 # bash sets it
    local pid=$server_PID
    read -r address <&"${server[0]}"
    wrk -t 1 -c 16 -d "$length" --latency "http://$address/hello" >"$scratch/wrk"
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    awk '
        /^ +99%/ {
            micros = $2 + 0
            if ($2 ~ /ms$/) micros *= 1000
            else if ($2 !~ /us$/) micros *= 1000000
        }
        /^Requests\/sec:/ { printf "%s %s\n", $2, micros }
        /Non-2xx|Socket errors/ { print "bench-cost: " $0 > "/dev/stderr" }' "$scratch/wrk"
}

if command -v wrk >/dev/null; then
    echo
    echo "wrk with 16 connections, the middle one of $turns turns     requests a second   99 % within"
    echo "                                                             vs hyper      vs hyper"
    for ((turn = 0; turn < turns; turn++)); do
        for at in "${!modes[@]}"; do
            printf '%s\t' "${names[at]}" "$turn"
            seen_by_wrk "${modes[at]}" | tr ' ' '\t'
        done
    done | python3 -c '
import statistics, sys
rows, first = {}, {}
for line in sys.stdin:
    name, turn, rate, late = line.rstrip("\n").split("\t")
    first.setdefault(turn, (float(rate), float(late)))
    rows.setdefault(name, []).append((float(rate) / first[turn][0], float(late) / first[turn][1]))
for name, ratios in rows.items():
    rate, late = map(statistics.median, zip(*ratios))
    print(f"{name:<46} {rate:22.2f} {late:13.2f}")'
fi
[[ -z $http1 ]] || exit 0

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
