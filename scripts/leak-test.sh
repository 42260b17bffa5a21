#!/usr/bin/env bash
# A thousand moves of each kind of connection, over TLS and not: what is left of them. Exit status 0: nothing.
#
#   scripts/leak-test.sh [CONNECTIONS [RESTARTS]]       4 of each kind and 250 by default
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

cargo build --quiet --release --package heirloom-bench --features live --bin live
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

failed=0
# FLAG...: for the load; the rest of the server's arguments is in `tls`.
round() {
    # The server before may still be on its way out, and its file with it.
    local pid=$work/pid$#
    start "$built/live" --probation 50ms --pid-file "$pid" "${tls[@]}"
    python3 scripts/leak-load.py "$address" "${connections[@]}" "$@" || {
        tail -n 40 "$work/log" >&2
        failed=1
    }
    kill -TERM "$(<"$pid")"
}

connections=("${1:-4}" "${2:-250}")
tls=()
round
tls=(--tls-cert "$work/cert.pem" --tls-key "$work/key.pem")
round --tls
((failed == 0))
