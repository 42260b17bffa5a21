#!/usr/bin/env bash
# QUIC through restarts, with quinn's clients, and beside heirloom's endpoint quinn on a socket that both generations read: kept
# connections, new ones, Retry, resumption and 0-RTT, a client's change of port, long transfers, the death of a process that
# drains. Exit status 0: with heirloom's endpoint all is as it must be.
#
#   scripts/quic-test.sh [short] [ROW]...
#
# The rows are kept, new, resumed, early, moved, much, killed, and foreign: a client of another maker, Python's aioquic, in
# ~/.cache/heirloom/venv (`pip install aioquic` there). short: two restarts, and without that client. tests/quic has most of it in
# little for CI, and scripts/udp-test.sh has name servers and conversations without QUIC.
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
cargo build --quiet --release --package heirloom-bench --features quic --bin quic --bin bench-quic

failed=0
if [[ ${rows[*]} != foreign ]]; then
    "$built/bench-quic" "${options[@]}" "${rows[@]/foreign/}" || failed=1
fi
((${#options[@]} == 0)) || exit "$failed"
((${#rows[@]} == 0)) || [[ " ${rows[*]} " == *' foreign '* ]] || exit "$failed"

python=$HOME/.cache/heirloom/venv/bin/python
"$python" -c 'import aioquic' 2>/dev/null || {
    echo "*** SKIPPED: no aioquic at $python, so no client of another maker was tried"
    exit "$failed"
}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
echo '20 kept connections of aioquic, a stream every 100 ms, 5 restarts'
start "$built/quic" --cert "$work/cert.pem" --key "$work/key.pem" --drain-timeout 100s --pid-file "$work/pid"
until [[ -s $work/pid ]]; do sleep 0.05; done
printf '  %-14s ' heirloom
"$python" scripts/quic-load.py "$address" "$work/cert.pem" "$work/pid" "$work/log" 20 5 || {
    tail -n 20 "$work/log" >&2
    failed=1
}
# Those that drain have no connection any more, and end by themselves.
server=$(<"$work/pid")
exit "$failed"
