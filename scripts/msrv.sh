#!/usr/bin/env bash
# Checks the minimum Rust version that Cargo.toml promises (`rust-version`).
#
# With that toolchain installed (rustup toolchain install VERSION), heirloom is checked with it. Without, two things can be
# told by any newer one, and are: that no dependency of the library wants a newer Rust, and (by clippy's
# `incompatible_msrv`) that heirloom uses nothing of the standard library that is younger.
set -euo pipefail
cd "$(dirname "$0")/.."

promised=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
[[ -n $promised ]] || {
    echo 'Cargo.toml promises no rust-version' >&2
    exit 1
}

cargo metadata --format-version 1 --all-features --locked --filter-platform x86_64-unknown-linux-gnu |
    python3 -c '
import json, sys
promised = sys.argv[1]
number = lambda version: [int(part) for part in (version.split(".") + ["0"])[:3]]
metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
needs = {
    node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
    for node in metadata["resolve"]["nodes"]
}
own = [id for id, package in packages.items() if package["name"] == "heirloom"]
seen, left = set(), list(own)
while left:
    id = left.pop()
    if id not in seen:
        seen.add(id)
        left += needs[id]
newer = [
    (package["name"], package["version"], package["rust_version"])
    for package in map(packages.get, sorted(seen))
    if package["rust_version"] and number(package["rust_version"])[:2] > number(promised)[:2]
]
for name, version, rust in newer:
    print(f"{name} {version} wants Rust {rust}, and Cargo.toml promises {promised}", file=sys.stderr)
print(f"{len(seen)} packages, {len(newer)} of them want a Rust newer than {promised}")
sys.exit(bool(newer))
' "$promised"

if cargo "+$promised" --version >/dev/null 2>&1; then
    cargo "+$promised" check --all-features
else
    echo "*** Rust $promised is not installed, so nothing was built with it; clippy looks for younger parts of std instead"
    cargo clippy --all-features -- -D clippy::incompatible_msrv
fi
