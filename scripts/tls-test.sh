#!/usr/bin/env bash
# HTTPS clients that keep their connections through restarts: what failed, and who shook hands again. Exit status 0:
# nothing and nobody.
#
#   scripts/tls-test.sh [CLIENTS [RESTARTS]]       64 and 20 by default
#
# The clients are Python's ssl, openssl s_client with key updates, curl and Node, as far as they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

cargo build --quiet --release --package heirloom-test-servers

"$built/heirloom-test-servers" secure "$work/secure"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
start "$work/secure"
first=$server

status=0
python3 scripts/tls-load.py "$address" "$first" "${1:-64}" "${2:-20}" || status=$?
server=$(curl -sk "https://$address/")
((status == 0)) || tail -n 40 "$work/log" >&2
exit "$status"
