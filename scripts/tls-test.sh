#!/usr/bin/env bash
# HTTPS clients that keep their connections through restarts: what failed, and who shook hands again. Exit status 0:
# nothing and nobody.
#
#   scripts/tls-test.sh [CLIENTS [RESTARTS]]       64 and 20 by default
#
# The clients are Python's ssl, openssl s_client with key updates, curl and Node, as far as they are there. In a second
# round they show certificates.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

cargo build --quiet --release --package heirloom-test-servers

"$built/heirloom-test-servers" secure "$work/secure"
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
openssl req -x509 "${key[@]}" -days 2 -subj /CN=clients -keyout "$work/ca.pem" -out "$work/clients.pem" 2>/dev/null
openssl req -new "${key[@]}" -subj /CN=client -keyout "$work/client-key.pem" 2>/dev/null |
    openssl x509 -req -CA "$work/clients.pem" -CAkey "$work/ca.pem" -days 2 -out "$work/client.pem" \
        -extfile <(echo basicConstraints=CA:FALSE) 2>/dev/null

status=0
# CLIENTS RESTARTS [CERTIFICATE KEY]
round() {
    local show=()
    (($# < 3)) || show=(--cert "$3" --key "$4")
    python3 scripts/tls-load.py "$address" "$server" "$@" || status=1
    server=$(curl -sk "${show[@]}" "https://$address/")
    ((status == 0)) || tail -n 40 "$work/log" >&2
    kill -TERM "$server"
    server=''
}

start "$work/secure"
round "${1:-64}" "${2:-20}"
start "$work/secure" --clients
round "${1:-64}" "${2:-20}" "$work/client.pem" "$work/client-key.pem"
exit "$status"
