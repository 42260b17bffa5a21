#!/usr/bin/env bash
# Checks the library with each feature alone and with those that are used together, and counts the crates that a user
# compiles.
#
#   scripts/features.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# A new dependency is a decision.
readonly most_by_default=50 most_above_tokio=19

combinations=(http axum tls udp quic supervisor systemd metrics log fetch cli "http supervisor systemd" "cli fetch")
for features in "${combinations[@]}"; do
    echo "   $features"
    cargo clippy --quiet --no-default-features --features "$features" -- -D warnings
done

# By name and version.
crates() {
    cargo tree --edges normal --prefix none --no-dedupe "$@" | sed 's/ (.*//' | sort -u
}
# What tokio brings with the features that heirloom asks it for.
tokios() {
    cargo tree --edges normal --no-default-features --prefix depth --no-dedupe |
        awk '/^1tokio / { within = 1 } /^1/ && !/^1tokio / { within = 0 } within { sub(/^[0-9]+/, ""); sub(/ \(.*/, ""); print }' |
        sort -u
}
default=$(crates | wc -l)
bare=$(comm -23 <(crates --no-default-features | grep -v '^heirloom ') <(tokios) | wc -l)
echo "$default crates with the default features, heirloom among them; $bare above tokio's own without any"
((default <= most_by_default && bare <= most_above_tokio)) || {
    echo "that is more than $most_by_default and $most_above_tokio: is the new dependency worth it?" >&2
    exit 1
}
