#!/usr/bin/env bash
# HTTPS clients that keep their connections through restarts: what failed, and who shook hands again. Exit status 0:
# nothing and nobody.
#
#   scripts/tls-test.sh [CLIENTS [RESTARTS]]       64 and 20 by default
#
# The clients are Python's ssl, openssl s_client with key updates, curl and Node, as far as they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

built=${CARGO_TARGET_DIR:-target}/release
fail() { printf 'tls-test: %s\n' "$*" >&2; exit 1; }
cargo build --quiet --release --package heirloom-test-servers

# Beside the programs: not everywhere may what lies in /tmp be executed.
work=$(mktemp -d "$built/tls-test.XXXXXX")
server=''
# Called by the trap.
# shellcheck disable=SC2317
finish() {
    [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

"$built/heirloom-test-servers" secure "$work/secure"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
: >"$work/out"
"$work/secure" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
server=$!
first=$server
until address=$(sed -n 's/^listening on //p;q' "$work/out") && [[ -n $address ]]; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; fail 'the server does not start'; }
    sleep 0.05
done

status=0
python3 scripts/tls-load.py "$address" "$first" "${1:-64}" "${2:-20}" || status=$?
server=$(curl -sk "https://$address/")
((status == 0)) || tail -n 40 "$work/log" >&2
exit "$status"
