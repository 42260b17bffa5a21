#!/usr/bin/env bash
# Makes programs of crates.io restartable with the diffs in examples/registry, restarts them under load, and prints what
# their clients saw. Exit status 0: no request failed, and no kept connection had to be opened again.
#
#   scripts/registry-programs.sh [RESTARTS]        default 20
#
# The sources come through cargo and stay in target/.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

restarts=${1:-20}
[[ $restarts =~ ^[1-9][0-9]*$ ]] || fail "$restarts is not a number of restarts"
for tool in cargo patch awk; do
    command -v "$tool" >/dev/null || fail "$tool is needed and not installed"
done

root=$PWD
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$target/registry-programs
# NAME-VERSION: its program is in $folder/built/debug then.
build() {
    local name=${1%-*} version=${1##*-}
    # It has to read the manifest, and so downloads the crate.
    cargo info --quiet --registry crates-io "$name@$version" >/dev/null
    rm -rf "${folder:?}/$1"
    mkdir -p "$folder"
    cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1" "$folder"
    (
        cd "$folder/$1"
        patch --quiet --strip 1 <"$root/examples/registry/$1.diff"
        # Not a part of the workspace that it lies in.
        printf '\n[workspace]\n' >>Cargo.toml
        cargo add --quiet heirloom --path "$root"
        # Its own warnings are nobody's business here.
        cargo build --quiet --no-default-features --target-dir "$folder/built" >"$folder/$1.log" 2>&1 ||
            fail "$1 is not built: $(<"$folder/$1.log")"
    )
}
build dufs-0.47.0
build tcpproxy-0.4.1
cargo build --quiet --package heirloom-bench --bin load
client=$target/debug/load

work=$(mktemp -d "$folder/run.XXXXXX")
finish() {
    local pid
    for pid in $(pids_of dufs) $(pids_of tcpproxy) $(pids_of upstream); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# PROGRAM: all that run, of the copy that lies in $work.
pids_of() {
    local process
    for process in /proc/[0-9]*; do
        [[ ! $process/exe -ef $work/$1 ]] || printf '%s\n' "${process#/proc/}"
    done
}

# WHAT COMMAND...: until it succeeds, for a minute.
await() {
    local what=$1
    shift
    for ((look = 0; look < 1200; look++)); do
        ! "$@" || return 0
        sleep 0.05
    done
    fail "$what: $(tail -n 5 "$work"/*.log)"
}

# PROGRAM ARGUMENT...: where it listens is in $address then.
start() {
    local program=$1
    shift
    : >"$work/$program.out"
    "$work/$program" "$@" >"$work/$program.out" 2>"$work/$program.log" &
    # Nobody wants to hear how it ends.
    disown
    await "$program does not start" grep -q '127\.0\.0\.1:[0-9]' "$work/$program.out"
    address=$(grep -o '127\.0\.0\.1:[0-9]*' "$work/$program.out" | head -n 1)
}

# PROGRAM PID: whether another one than this serves, alone.
is_replaced() { [[ $(pids_of "$1") =~ ^[0-9]+$ && ${BASH_REMATCH[0]} != "$2" ]]; }
is_gone() { [[ -z $(pids_of "$1") ]]; }

# PROGRAM MODE...: restarts what listens at $address, and stops it.
drive() {
    local program=$1 load old running modes=()
    shift
    for mode in "$@"; do
        modes+=(--mode "$mode")
    done
    mkfifo "$work/load"
    "$client" --target "$address" --clients 16 --think-ms 0-20 --path /file "${modes[@]}" <"$work/load" >"$work/table" &
    load=$!
    exec {running}>"$work/load"
    for ((restart = 1; restart <= restarts; restart++)); do
        old=$(pids_of "$program")
        kill -USR2 "$old"
        await "restart $restart of $program" is_replaced "$program" "$old"
    done
    exec {running}>&-
    wait "$load" || lost=yes
    kill -TERM "$(pids_of "$program")"
    await "$program does not stop" is_gone "$program"
    rm "$work/load"
    awk -v name="$program" -f scripts/bench/row.awk "$work/table" >"$work/row" || fail "$program was asked nothing"
    cat "$work/row"
    [[ $(<"$work/row") != *'/ '[1-9]* ]] || lost=yes
    grep '^  at' "$work/table" || true
}

cp "$folder"/built/debug/{dufs,tcpproxy} "$work"
cp "$work/dufs" "$work/upstream"
mkdir "$work/files"
echo 'What is served' >"$work/files/file"

lost=''
printf '%s restarts each, of %s\n\n' "$restarts" "$(uname -r)"
printf '| %-21s | %8s | %6s | %-19s |\n' program requests failed 'kept: failed / opened again'
start dufs --bind 127.0.0.1 --port "$((20000 + RANDOM % 10000))" "$work/files"
drive dufs new keep
start upstream --bind 127.0.0.1 --port "$((20000 + RANDOM % 10000))" "$work/files"
# What is in a tunnel it does not know: each stays with its process to its end.
start tcpproxy "$address"
drive tcpproxy new
[[ -z $lost ]] || fail 'something was lost'
