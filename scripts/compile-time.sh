#!/usr/bin/env bash
# How long the library takes to compile from nothing, beside ecdysis: the same crate with the one or the other as its only
# dependency, with tokio in both, in turn. Both are downloaded before.
#
#   scripts/compile-time.sh [ROUNDS]     (2 rounds, debug builds, into folders of their own)
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-2}
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NAME DEPENDENCY
crate() {
    mkdir -p "$work/$1/src"
    echo 'fn main() {}' >"$work/$1/src/main.rs"
    printf '[package]\nname = "user"\nversion = "0.0.0"\nedition = "2024"\n[dependencies]\n%s\n' "$2" >"$work/$1/Cargo.toml"
    cargo fetch --quiet --manifest-path "$work/$1/Cargo.toml"
}

crate heirloom "heirloom = { path = \"$root\" }"
crate heirloom-bare "heirloom = { path = \"$root\", default-features = false }"
crate ecdysis 'ecdysis = "1"'
for ((round = 1; round <= rounds; round++)); do
    for name in heirloom heirloom-bare ecdysis; do
        began=$(date +%s.%N)
        cargo build --quiet --manifest-path "$work/$name/Cargo.toml" --target-dir "$work/$name/target"
        took=$(awk -v began="$began" -v ended="$(date +%s.%N)" 'BEGIN { printf "%.1f", ended - began }')
        count=$(cargo tree --manifest-path "$work/$name/Cargo.toml" --edges normal --prefix none | sed 's/ (.*//' | sort -u | wc -l)
        printf '%-14s %6s s, %s crates\n' "$name" "$took" "$((count - 1))"
        rm -rf "$work/$name/target"
    done
done
