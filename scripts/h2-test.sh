#!/usr/bin/env bash
# HTTP/2 clients of other makers through restarts, cleartext and over TLS, on connections that are never made again: what
# failed, who was told to go. Exit status 0: nothing and nobody.
#
#   scripts/h2-test.sh [MOVES [CLIENT]...]       1000, and all of them by default
#   scripts/h2-test.sh short FOLDER              all that CI has, at once and for a few restarts, with the programs
#                                                live and rpc that are there, instead of building them
#
# The server is restarted at random moments until so many connections of a client have moved. A quarter of the requests
# have 100 kB both ways, and one connection of most clients has a hundred streams at once. The clients: go, node,
# httpx, grpc-go, grpcio, h2load, nghttp, and over TLS alone chromium and curl (Debian 12's fails at the second request
# of a cleartext connection, with any server). What a client needs, by Debian's names: golang-go
# and golang-golang-x-net-dev, nodejs, httpx[http2] in ~/.cache/heirloom/venv as .ci/run makes it,
# golang-google-grpc-dev, python3-grpcio, curl, nghttp2-client, chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/one-server.sh
. scripts/one-server.sh

failed=0 rounds=0
# MOVES CONNECTIONS STREAMS CLIENT[,CLIENT]... [OPTION]...
round() {
    local moves=$1 connections=$2 streams=$3 clients=$4 program=$live scheme=http pid
    shift 4
    # The server before may still be on its way out, and its file with it.
    rounds=$((rounds + 1))
    pid=$work/pid-$rounds
    [[ $clients == grpc* ]] && program=$work/rpc
    (($# == 0)) || scheme=https
    start "$program" --probation 100ms --pid-file "$pid" "$@"
    until [[ -s $pid ]]; do sleep 0.05; done
    python3 scripts/h2-load.py "$scheme://$address" "$pid" "$work/log" "$work/cert.pem" "$moves" "$connections" \
        "$streams" "$clients" || {
        tail -n 20 "$work/log" >&2
        failed=1
    }
    server=$(<"$pid")
    kill -TERM "$server"
    server=''
}

heading() {
    printf '%-22s%12s%12s%12s%12s%12s%12s%12s\n' client connections requests failed GOAWAY moves restarts reconnects
}

if [[ ${1:-} == short ]]; then
    folder=${2:?short needs a folder}
    live=$folder/live
    cp "$folder/rpc" "$work/rpc"
    scripts/h2-clients/build.sh "$work" go
    heading
    tls=(--tls-cert "$work/cert.pem" --tls-key "$work/key.pem")
    round 20 4 8 go,node,httpx,h2load,nghttp
    round 20 4 8 go,node,httpx,curl,h2load,nghttp "${tls[@]}"
    round 4 4 8 grpcio "${tls[@]}"
    exit "$failed"
fi

moves=${1:-1000}
clients=("${@:2}")
((${#clients[@]})) || clients=(go node httpx grpc-go grpcio curl h2load nghttp chromium)
cargo build --quiet --release --package heirloom-bench --features live --bin live
cargo build --quiet --release --package heirloom-test-servers
live=$built/live
"$built/heirloom-test-servers" rpc "$work/rpc"
scripts/h2-clients/build.sh "$work" "${clients[@]}"
heading
for client in "${clients[@]}"; do
    [[ $client == @(chromium|curl) ]] || round "$moves" 20 100 "$client"
    round "$moves" 20 100 "$client" --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
done
exit "$failed"
