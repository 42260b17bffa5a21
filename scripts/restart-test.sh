#!/usr/bin/env bash
# Shows a hot restart: a request that outlives its program's replacement, then twenty restarts under load.
# Exit status 0: no request failed, and every claim below held.
#
#   scripts/restart-test.sh [RESTARTS]                 default 20
#   scripts/restart-test.sh RESTARTS FOLDER            with the programs that are there, instead of building them
#   scripts/restart-test.sh --build FOLDER [PROFILE]   builds them to there, and no more; by default for release
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
expect() { # WHAT SEEN WANTED
    [[ $2 == "$3" ]] || fail "$1: $2 instead of $3"
    say "  $1: $2"
}

need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
    done
}

# FOLDER [PROFILE]: two hellos and a client. Before anything runs: nobody waits for a compiler.
build_to() {
    local profile=${2:-release} built message
    built=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}
    need cargo cc
    mkdir -p "$1"
    for message in Harry World; do
        say "== building hello with 'Hello $message'"
        HELLO_MESSAGE="Hello $message" cargo build --profile "$profile" --package heirloom-bench --bin hello --bin load
        cp "$built/hello" "$1/$message"
    done
    cp "$built/load" "$1/client"
}

if [[ ${1:-} == --build ]]; then
    build_to "${2:?--build needs a folder}" "${3:-}"
    exit
fi
restarts=${1:-20}
[[ $restarts =~ ^[1-9][0-9]*$ ]] || fail "$restarts is not a number of restarts"
need mktemp mkfifo sort tail

# Beside the programs: not everywhere may what lies in /tmp be executed.
beside=${2:-${CARGO_TARGET_DIR:-target}/release}
mkdir -p "$beside"
work=$(mktemp -d "$beside/restart-test.XXXXXX")
server=''
finish() {
    # Whichever generation serves; it is gone already when all went well.
    [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# The number that stands at share $1 (in percent) of those on stdin, in order.
at_share() {
    local -a times
    mapfile -t times < <(sort -n)
    say "${times[$(((${#times[@]} - 1) * $1 / 100))]}"
}

# What a deployment does: the file is exchanged by a rename, never written to.
deploy() {
    cp "$programs/$1" "$work/new"
    mv "$work/new" "$work/hello"
}

programs=${2:-$work/built}
[[ -n ${2:-} ]] || build_to "$programs"
client=$programs/client

deploy World
mkfifo "$work/out"
# Deadlines for a machine of any speed.
"$work/hello" --listen 127.0.0.1:0 --start-timeout 5m --drain-timeout 10m >"$work/out" 2>"$work/log" &
server=$!
exec {out}<"$work/out"
IFS= read -r -t 60 line <&"$out" || fail "hello did not start: $(cat "$work/log")"
[[ $line == 'listening on '* ]] || fail "hello said: $line"
target=${line#listening on }
# Later generations say it too, and must not be stopped by a full pipe.
cat <&"$out" >>"$work/log" &

ask() { "$client" get --target "$target" --path "$1"; }

expect 'GET / answers' "$(ask /)" 'Hello World'
expect 'GET /pid answers' "$(ask /pid)" "$server"

# Restarts from the program $1 into $2 while a request of $3 seconds waits. `outlived`: it waited for longer than the restart
# took.
restart_during_a_request() {
    say "== a request that takes $3s, and while it waits a new program that says 'Hello $2'"
    ask "/sleep?duration=$3s" >"$work/slow" &
    local slow=$! watch watched old new first drained
    deploy "$2"
    expect 'the old program still answers' "$(ask /)" "Hello $1"

    say "== kill -USR2 $server"
    rm -f "$work/restart"
    mkfifo "$work/restart"
    "$client" restart --target "$target" --signal USR2 >"$work/restart" &
    watch=$!
    exec {watched}<"$work/restart"
    read -r -t 330 _ old new first <&"$watched" || fail "no restart: $(cat "$work/log")"
    server=$new
    [[ $new != "$old" ]] || fail 'the pid is the same'
    say "  pid $old became $new, its first answer came after $first ms"
    expect 'a new request answers' "$(ask /)" "Hello $2"
    outlived=''
    kill -0 "$slow" 2>/dev/null && outlived=yes
    wait "$slow" || fail 'the old request got no answer'
    expect 'the old request answers' "$(cat "$work/slow")" "Hello $1"
    read -r -t 660 _ _ drained <&"$watched" || fail "pid $old did not leave"
    wait "$watch"
    exec {watched}<&-
    say "  pid $old left $drained ms after the signal"
}

old=World new=Harry
for seconds in 5 20 80 320; do
    restart_during_a_request "$old" "$new" "$seconds"
    [[ -z $outlived ]] || break
    # On a machine as slow as this it showed nothing.
    [[ $seconds != 320 ]] || fail 'a restart took longer than 320s'
    say '  the request was over before the restart: once more, with a longer one'
    read -r old new <<<"$new $old"
done
generation=$(ask /generation)

say "== $restarts restarts under load, with HUP and USR2 in turn"
mkfifo "$work/load"
"$client" --target "$target" --mode new --mode keep --mode keep-nothink --mode keep-late \
    <"$work/load" >"$work/table" &
load=$!
exec {running}>"$work/load"
for ((i = 1; i <= restarts; i++)); do
    signal=HUP
    ((i % 2)) || signal=USR2
    "$client" restart --target "$target" --signal "$signal" {running}>&- >"$work/one" ||
        fail "restart $i: $(tail -n 5 "$work/log")"
    { read -r _ _ server first; read -r _ _ drained; } <"$work/one"
    say "$first" >>"$work/first"
    say "$drained" >>"$work/drained"
done
expect 'generation' "$(ask /generation)" $((generation + restarts))
exec {running}>&-
verdict=0
wait "$load" || verdict=$?

cat "$work/table"
printf '\n%-44s %9s %9s\n' 'ms after the signal, under all four loads' median slowest
for row in first:'first answer of the new process' drained:'old process drained and gone'; do
    printf '%-44s %9s %9s\n' "${row#*:}" "$(at_share 50 <"$work/${row%%:*}")" "$(at_share 100 <"$work/${row%%:*}")"
done
"$client" stop --target "$target" >"$work/stopped" || fail 'the last process did not stop'
server=''
read -r _ pid took <"$work/stopped"
say "  pid $pid stopped after $took ms"
((verdict == 0)) || fail 'requests failed'
say "PASSED: $((generation + restarts - 1)) restarts, no request failed"
