#!/usr/bin/env bash
# Shows a hot restart: a request that outlives its program's replacement, then twenty restarts under load.
# Exit status 0: no request failed, and every claim below held.
#
#   scripts/restart-test.sh [RESTARTS]       default 20
#
# SLEEP is how long the first request lasts: longer than a rebuild takes on this machine. The default is 30s, and more
# where a rebuild has just taken long.
set -euo pipefail
cd "$(dirname "$0")/.."

restarts=${1:-20}
built=${CARGO_TARGET_DIR:-target}/release/examples

say() { printf '%s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
expect() { # WHAT SEEN WANTED
    [[ $2 == "$3" ]] || fail "$1: $2 instead of $3"
    say "  $1: $2"
}

[[ $restarts =~ ^[1-9][0-9]*$ ]] || fail "$restarts is not a number of restarts"
for tool in cargo cc mktemp mkfifo sort tail; do
    command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
done

work=$(mktemp -d)
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

say "== building hello with 'Hello World'"
HELLO_MESSAGE='Hello Harry' cargo build --quiet --release --example hello --example load
SECONDS=0
env -u HELLO_MESSAGE cargo build --quiet --release --example hello
# Below the 60 s that a process which has handed over waits for its requests.
longest=$((SECONDS * 4 + 10))
((longest > 30)) || longest=30
((longest < 55)) || longest=55
sleep_for=${SLEEP:-${longest}s}

mkfifo "$work/out"
"$built/hello" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
server=$!
exec {out}<"$work/out"
IFS= read -r -t 60 line <&"$out" || fail "hello did not start: $(cat "$work/log")"
[[ $line == 'listening on '* ]] || fail "hello said: $line"
target=${line#listening on }
# Later generations say it too, and must not be stopped by a full pipe.
cat <&"$out" >>"$work/log" &

ask() { "$built/load" get --target "$target" --path "$1"; }

expect 'GET / answers' "$(ask /)" 'Hello World'
expect 'GET /pid answers' "$(ask /pid)" "$server"

say "== a request for $sleep_for, and while it waits a rebuild with 'Hello Harry'"
ask "/sleep?duration=$sleep_for" >"$work/slow" &
slow=$!
HELLO_MESSAGE='Hello Harry' cargo build --quiet --release --example hello
expect 'the old program still answers' "$(ask /)" 'Hello World'
kill -0 "$slow" 2>/dev/null || fail "the rebuild took longer than $sleep_for: set SLEEP to more"

say "== kill -USR2 $server"
mkfifo "$work/restart"
"$built/load" restart --target "$target" --signal USR2 >"$work/restart" &
watch=$!
exec {watched}<"$work/restart"
read -r -t 90 _ old new first <&"$watched" || fail "no restart: $(cat "$work/log")"
server=$new
[[ $new != "$old" ]] || fail 'the pid is the same'
say "  pid $old became $new, its first answer came after $first ms"
expect 'a new request answers' "$(ask /)" 'Hello Harry'
kill -0 "$slow" 2>/dev/null || fail 'the old request did not last until here: set SLEEP to more'
kill -0 "$old" 2>/dev/null || fail "pid $old did not wait for its request"
wait "$slow" || fail 'the old request got no answer'
expect 'the old request answers' "$(cat "$work/slow")" 'Hello World'
read -r -t 90 _ _ drained <&"$watched" || fail "pid $old did not leave"
wait "$watch"
say "  pid $old left $drained ms after the signal"

say "== $restarts restarts under load, with HUP and USR2 in turn"
mkfifo "$work/load"
"$built/load" --target "$target" --mode new --mode keep --mode keep-nothink --mode keep-late \
    <"$work/load" >"$work/table" &
load=$!
exec {running}>"$work/load"
for ((i = 1; i <= restarts; i++)); do
    signal=HUP
    ((i % 2)) || signal=USR2
    "$built/load" restart --target "$target" --signal "$signal" {running}>&- >"$work/one" ||
        fail "restart $i: $(tail -n 5 "$work/log")"
    { read -r _ _ server first; read -r _ _ drained; } <"$work/one"
    say "$first" >>"$work/first"
    say "$drained" >>"$work/drained"
done
generation=$(ask /generation)
exec {running}>&-
verdict=0
wait "$load" || verdict=$?

cat "$work/table"
printf '\n%-44s %9s %9s\n' 'ms after the signal, under all four loads' median slowest
for row in first:'first answer of the new process' drained:'old process drained and gone'; do
    printf '%-44s %9s %9s\n' "${row#*:}" "$(at_share 50 <"$work/${row%%:*}")" "$(at_share 100 <"$work/${row%%:*}")"
done
expect 'generation' "$generation" $((restarts + 2))

"$built/load" stop --target "$target" >"$work/stopped" || fail 'the last process did not stop'
server=''
read -r _ pid took <"$work/stopped"
say "  pid $pid stopped after $took ms"
((verdict == 0)) || fail 'requests failed'
say "PASSED: $((restarts + 1)) restarts, no request failed"
