#!/usr/bin/env bash
# QUIC through restarts, with quinn's clients, and beside heirloom's endpoint quinn on a socket that both generations read: kept
# connections, new ones, Retry, resumption and 0-RTT, a client's change of port, long transfers, the death of a process that
# drains. Exit status 0: with heirloom's endpoint all is as it must be.
#
#   scripts/quic-test.sh [short] [ROW]...
#
# The rows are kept, new, resumed, early, moved, much, killed, and with clients of other makers foreign (Python's aioquic) and
# http3 (aioquic and Chromium, with examples/http3.rs). aioquic is looked for in ~/.cache/heirloom/venv, as .ci/run makes it.
# short: two restarts, and without those clients. tests/quic has most of it in little for CI, and scripts/udp-test.sh has name
# servers and conversations without QUIC.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

options=()
if [[ ${1:-} == short ]]; then
    options=(--short)
    shift
fi
rows=("$@")
wanted() { ((${#rows[@]} == 0)) || [[ " ${rows[*]} " == *" $1 "* ]]; }

# One build, so that heirloom is built once.
cargo build --quiet --release --package heirloom-bench --features quic,http3 --bin quic --bin http3 --bin bench-quic

failed=0 own=()
for row in "${rows[@]}"; do
    [[ $row == @(foreign|http3) ]] || own+=("$row")
done
if ((${#rows[@]} == 0 || ${#own[@]})); then
    "$built/bench-quic" "${options[@]}" "${own[@]}" || failed=1
fi
((${#options[@]} == 0)) || exit "$failed"
wanted foreign || wanted http3 || exit "$failed"

python=$HOME/.cache/heirloom/venv/bin/python
"$python" -c 'import aioquic, websockets' 2>/dev/null || {
    echo "*** SKIPPED: no aioquic at $python, so no client of another maker was tried"
    exit "$failed"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

# PROGRAM: serves with a certificate, and writes its process's number to $work/pid.
serve() {
    rm -f "$work/pid"
    start "$built/$1" --cert "$work/cert.pem" --key "$work/key.pem" --drain-timeout 100s --pid-file "$work/pid"
    until [[ -s $work/pid ]]; do sleep 0.05; done
}

# COMMAND...: tries the server. Those that drain have no connection any more then, and end by themselves.
try() {
    "$@" || {
        tail -n 20 "$work/log" >&2
        failed=1
    }
    server=$(<"$work/pid")
    kill -KILL "$server" 2>/dev/null || true
    server=''
}

if wanted foreign; then
    echo '20 kept connections of aioquic, a stream every 100 ms, 5 restarts'
    serve quic
    printf '  %-14s ' heirloom
    try "$python" scripts/quic-load.py "$address" "$work/cert.pem" "$work/pid" "$work/log" 20 5
fi
if wanted http3; then
    clients=(aioquic)
    if command -v chromium >/dev/null; then clients+=(chromium); else echo '*** SKIPPED: no chromium'; fi
    echo '20 clients of HTTP/3 by aioquic and a page in Chromium, a request every 100 ms, 5 restarts'
    serve http3
    try "$python" scripts/h3-load.py "$address" "$work/cert.pem" "$work/pid" 20 5 "${clients[@]}"
fi
exit "$failed"
