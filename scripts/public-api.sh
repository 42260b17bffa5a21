#!/usr/bin/env bash
# Compares the public surface of the library, with all features, to what is recorded. A change of it is to be seen in
# review, as a change of scripts/public-api/listing.txt.
#
#   scripts/public-api.sh             compares; fails, and shows what differs
#   scripts/public-api.sh --record    records the surface as it is
#
# One thing that only nightly has is used, rustdoc's JSON, and it is had from the installed toolchain. Of another release
# of Rust that may have another format. Then nothing is compared, and this says so.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the version of `public-api` in scripts/public-api/Cargo.toml reads.
readonly format=57
readonly listing=scripts/public-api/listing.txt
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly target

case ${1-} in
'' | --record) ;;
*)
    echo "usage: $0 [--record]" >&2
    exit 2
    ;;
esac

# For rustdoc alone: cargo would build all dependencies anew.
mkdir -p "$target/public-api"
readonly unstable=$target/public-api/rustdoc
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n' >"$unstable"
chmod +x "$unstable"
RUSTDOC=$unstable cargo rustdoc --quiet --lib --all-features -- -Z unstable-options --output-format json
json=$target/doc/heirloom.json
found=$(grep -o '"format_version":[0-9]*' "$json" | tail -n 1)
if [[ $found != "\"format_version\":$format" ]]; then
    printf '\n*** SKIPPED: %s writes %s, and not %s, so the public surface was not compared\n' \
        "$(rustdoc --version)" "$found" "$format"
    exit 0
fi

found=$target/public-api/found.txt
cargo run --quiet --locked --manifest-path scripts/public-api/Cargo.toml --target-dir "$target/public-api" -- "$json" >"$found"
if [[ ${1-} == --record ]]; then
    cp "$found" "$listing"
    echo "recorded: $(wc -l <"$listing") public items"
elif diff --unified=0 --label recorded --label found "$listing" "$found"; then
    echo "$(wc -l <"$listing") public items, as recorded"
else
    echo "the public surface has changed; if it should, record it: $0 --record" >&2
    exit 1
fi
