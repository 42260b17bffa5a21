#!/usr/bin/env bash
# Checks the oldest versions of dependencies that Cargo.toml allows: with each of them at just that version, and what they need
# themselves as new as it comes, the library must compile.
#
#   scripts/minimal.sh                  the features that need no TLS, web client or command line
#   scripts/minimal.sh --all-features   all of them, which compiles for longer
#
# Cargo can choose such versions with nightly's -Z direct-minimal-versions alone. It is told to take itself for one, which
# is for the choice and not for the compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

features=(--features "log metrics supervisor systemd")
[[ ${1-} != --all-features ]] || features=(--all-features)
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/minimal
readonly target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without what only tests need: nobody who uses the library has that.
cp -r src README.md "$work"
mkdir "$work/examples"
cp -r examples/deploy "$work/examples"
awk '/^\[/ { skip = /^\[(workspace|dev-dependencies|\[example)/ } !skip' Cargo.toml >"$work/Cargo.toml"
cd "$work"
RUSTC_BOOTSTRAP=1 cargo -Z direct-minimal-versions generate-lockfile --quiet
cargo tree --depth 1 --edges normal --prefix none "${features[@]}" | sed -n '2,$s/ v/ /p' | sed 's/ (.*//' | paste -sd ' '
cargo check --quiet --lib --bins --locked --target-dir "$target" "${features[@]}"
echo 'the oldest versions will do'
