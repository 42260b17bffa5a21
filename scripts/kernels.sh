#!/usr/bin/env bash
# Runs the restart test, and the tests of what heirloom asks of the kernel, under older and newer kernels than this machine's:
# Debian's, booted by qemu without KVM, with an initramfs that is made here. No root is needed, and nothing of the machine is
# changed; the kernels are kept in the user's cache.
#
#   scripts/kernels.sh [SUITE/PACKAGE]...     default: the kernels of three Debians, 5.10, 6.1 and 6.12
#
# It needs qemu-system-x86, busybox-static, cpio, and apt with the mirror of a Debian.
set -euo pipefail
cd "$(dirname "$0")/.."

restarts=5
# What the tests of an emulated machine may take: ten times what they took on two cores.
deadline=900

fail() { printf 'kernels: %s\n' "$*" >&2; exit 1; }
# shellcheck source=scripts/emulator.sh
. scripts/emulator.sh
need

kernels=("$@")
((${#kernels[@]})) || kernels=(bullseye/linux-image-cloud-amd64 bookworm/linux-image-cloud-amd64
    bookworm-backports/linux-image-cloud-amd64)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/heirloom/kernels
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# shellcheck source=scripts/apt-beside.sh
. scripts/apt-beside.sh

# The machine: busybox, bash, what is tested, and the libraries of these.
machine() {
    local tests
    root_of
    mkdir -p "$root/heirloom/scripts"
    # busybox's shell prefers its own readlink, which has fewer options than a test of ours uses.
    ln -s bash "$root/bin/sh"
    scripts/restart-test.sh --build "$root/programs"
    cp scripts/restart-test.sh "$root/heirloom/scripts/"
    tests=$(cargo test --quiet --lib --all-features --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    cp "$tests" "$root/programs/unit-tests"
    cp "$(command -v bash)" "$(command -v readlink)" "$root/bin/"
    libraries "$root"/bin/{bash,readlink} "$root"/programs/*
    # Its last words say how it went.
    pack <<END
cd /heirloom
/programs/unit-tests --test-threads 2 sys:: sockets:: restarter:: && units=passed || units=failed
bash scripts/restart-test.sh $restarts /programs && restarts=passed || restarts=failed
echo "verdict: unit tests \$units, restart test \$restarts"
END
}

# shellcheck source=/dev/null
mirror_of "$(. /etc/os-release && echo "${VERSION_CODENAME-}")"
machine
failed=0
for wanted in "${kernels[@]}"; do
    fetch "${wanted%%/*}" "${wanted#*/}"
    boot 2048
    printf '%-52s %s\n' "$(sed -n 's/.*-- Linux /Linux /p' "$kernel.log")" "$(sed -n 's/^verdict: //p' "$kernel.log")"
    grep -q '^verdict: unit tests passed, restart test passed$' "$kernel.log" || { tail -n 60 "$kernel.log"; failed=1; }
done
((failed == 0)) || fail "not all passed; what each printed is in $cache"
