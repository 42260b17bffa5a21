#!/usr/bin/env bash
# Moves 100,000 idle connections at a restart: none is closed, and it takes at most 1.5 times what its parts take one after
# the other (bench-move says which those are). In an emulated machine, as root of which one may open that many descriptors;
# many a machine's limits forbid it. No root is needed here, and nothing of this machine is changed.
#
#   scripts/idle-connections.sh [--connections 100000] [--rounds 3] [--memory MIB]
#
# It needs qemu-system-x86, busybox-static, cpio, and apt with the mirror of a Debian. The machine has two processors without
# KVM, which are ten times slower or more: its times stand for nothing, their ratio does. Exit status 1: a connection was closed, or
# the move took longer.
set -euo pipefail
cd "$(dirname "$0")/.."

# What emulated processors may take to make the connections and move them a few times: five times what they took.
deadline=3600
connections=100000 rounds=3 memory=6144

fail() { printf 'idle-connections: %s\n' "$*" >&2; exit 1; }
while (($#)); do
    case $1 in
    --connections) connections=$2 ;;
    --rounds) rounds=$2 ;;
    --memory) memory=$2 ;;
    *) fail "$1? There are --connections, --rounds and --memory" ;;
    esac
    shift 2
done

# shellcheck source=scripts/emulator.sh
. scripts/emulator.sh
need
cache=${XDG_CACHE_HOME:-$HOME/.cache}/heirloom/kernels
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# shellcheck source=scripts/apt-beside.sh
. scripts/apt-beside.sh

cargo build --quiet --release --package heirloom-bench --features bench --bin hello --bin bench-move
built=${CARGO_TARGET_DIR:-target}/release
root_of
cp "$built"/{hello,bench-move} "$root/programs/"
libraries "$root"/programs/*
pack <<END
# Both ends of each, twice over while they are passed on, and as many file descriptors in each process.
ulimit -n $((3 * connections + 1000))
echo $((10 * connections)) >/proc/sys/fs/file-max
/programs/bench-move --connections $connections --rounds $rounds --check && verdict=passed || verdict=failed
echo "memory of the machine: \$(sed -n 's/^\(MemTotal\|Slab\): */\1 /p' /proc/meminfo | tr '\n' ' ')"
echo "verdict: \$verdict"
END
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
mirror_of "$suite"
fetch "$suite" linux-image-cloud-amd64
boot "$memory"
sed -n '/^-- Linux/,$p' "$kernel.log"
grep -q '^verdict: passed$' "$kernel.log"
