# shellcheck shell=bash
# For scripts that drive one server, which source it: a place to work in, and a server that is gone at the end.

# Where the programs are built. Beside them: not everywhere may what lies in /tmp be executed.
built=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$built"
work=$(mktemp -d "$built/${0##*/}.XXXXXX")
server=''

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

finish() {
    [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# PROGRAM ARGUMENT...: starts a server, and sets `server` and `address`.
start() {
    : >"$work/out"
    "$1" --listen 127.0.0.1:0 "${@:2}" >"$work/out" 2>"$work/log" &
    server=$!
    # shellcheck disable=SC2034 # for those who source this
    until address=$(sed -n 's/^listening on //p;q' "$work/out") && [[ -n $address ]]; do
        kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; fail "$1 does not start"; }
        sleep 0.05
    done
}
