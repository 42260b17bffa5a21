#!/usr/bin/env bash
# Builds what the clients of HTTP/2 need: a certificate, and the programs in Go.
#
#   scripts/h2-clients/build.sh FOLDER CLIENT...
set -euo pipefail

folder=$1 here=$(dirname "$0")
shift
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
    -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
# Debian's packages of Go's libraries lie there.
export GO111MODULE=off GOPATH=/usr/share/gocode GOFLAGS=''
for client; do
    case $client in
    go) go build -o "$folder/go-http2" "$here/http2.go" ;;
    grpc-go) go build -o "$folder/go-grpc" "$here/grpc.go" ;;
    esac
done
