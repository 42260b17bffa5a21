#!/usr/bin/env bash
# WebSockets and event streams through restarts at random moments, of clients that never reconnect: what is lost,
# duplicated or closed. Exit status 0: nothing.
#
#   scripts/live-test.sh [short]       short: a tenth of the clients, two restarts
#
# The clients are Python's (asyncio, and the package websockets, in ~/.cache/heirloom/venv as .ci/run makes it), and
# Node's where it has a WebSocket.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

python=$HOME/.cache/heirloom/venv/bin/python
sockets=200 streams=100 restarts=10 events=3000
if [[ ${1:-} == short ]]; then
    sockets=20 streams=10 restarts=2 events=800
fi

"$python" -c 'import websockets' 2>/dev/null || fail "no Python with websockets at $python; .ci/run makes one"
cargo build --quiet --release --package heirloom-bench --features live --bin live
cargo build --quiet --release --package heirloom-test-servers

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# SCHEME: stops whichever generation serves.
stop() {
    server=$("$python" -c "import ssl, urllib.request as u
print(u.urlopen('$1://$address/pid', context=ssl._create_unverified_context()).read().decode())")
    kill -TERM "$server"
    server=''
}

failed=0
# LABEL SERVER COMMAND...: runs it with the address in the place of ADDRESS. If it is over TLS, so is the server.
round() {
    local label=$1 figures scheme=http
    if [[ ${*: -1} == --tls ]]; then
        scheme=https
        start "$2" --probation 500ms --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
    else
        start "$2" --probation 500ms
    fi
    shift 2
    printf '%-28s ' "$label"
    if figures=$("${@/ADDRESS/$address}"); then
        printf '%s\n' "$figures"
    else
        printf '%s\n' "$figures"
        tail -n 40 "$work/log" >&2
        failed=1
    fi
    stop "$scheme"
}

live=$built/live
for name in sockets completions; do
    "$built/heirloom-test-servers" "$name" "$work/$name"
done
# It knows by its arguments which library it is to use.
printf '#!/bin/sh\nexec "%s" "$@" --fast\n' "$PWD/$work/sockets" >"$work/fast"
chmod +x "$work/fast"
load=("$python" scripts/live-load.py)
node=(node --no-warnings --experimental-websocket scripts/live-load.js)
round 'WebSocket, axum' "$live" "${load[@]}" websocket ADDRESS "$sockets" "$restarts"
round 'WebSocket, hyper' "$work/sockets" "${load[@]}" websocket ADDRESS "$sockets" "$restarts"
round 'WebSocket, fastwebsockets' "$work/fast" "${load[@]}" websocket ADDRESS "$sockets" "$restarts"
round 'WebSocket, TLS' "$live" "${load[@]}" websocket ADDRESS "$sockets" "$restarts" --tls
round 'event streams' "$live" "${load[@]}" stream ADDRESS "$streams" "$restarts" "$events"
round 'event streams, POST' "$work/completions" "${load[@]}" completion ADDRESS "$streams" "$restarts" "$((2 * events))"
round 'event streams, TLS' "$live" "${load[@]}" stream ADDRESS "$streams" "$restarts" "$events" --tls
if command -v node >/dev/null && node --experimental-websocket -e 'new WebSocket("ws://localhost")' 2>/dev/null; then
    round 'WebSocket, Node' "$live" "${node[@]}" websocket ADDRESS "$sockets" "$restarts"
    round 'WebSocket, TLS, Node' "$live" "${node[@]}" websocket ADDRESS "$sockets" "$restarts" --tls
    round 'event streams, Node' "$live" "${node[@]}" stream ADDRESS "$streams" "$restarts" "$events"
    round 'event streams, TLS, Node' "$live" "${node[@]}" stream ADDRESS "$streams" "$restarts" "$events" --tls
else
    echo 'Node                         skipped: no Node with a WebSocket'
fi
((failed == 0))
