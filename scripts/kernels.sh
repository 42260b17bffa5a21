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
for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio apt-get:apt dpkg-deb:dpkg cargo:cargo; do
    command -v "${tool%%:*}" >/dev/null || fail "${tool%%:*} is needed and not installed; Debian's package is ${tool##*:}"
done

kernels=("$@")
((${#kernels[@]})) || kernels=(bullseye/linux-image-cloud-amd64 bookworm/linux-image-cloud-amd64
    bookworm-backports/linux-image-cloud-amd64)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/heirloom/kernels
mkdir -p "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# shellcheck source=scripts/apt-beside.sh
. scripts/apt-beside.sh

# SUITE PACKAGE: fetches the kernel that the package stands for, and sets `kernel` to its image.
fetch() {
    local package release
    sources "deb $mirror $1 main"
    package=$(apt 20 cache show --no-all-versions "$2" | sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p')
    kernel=$cache/${package:=$2}
    [[ ! -f $kernel ]] || return 0
    apt 300 get download "$package" || fail "$package cannot be fetched from $mirror"
    dpkg-deb --fsys-tarfile "$work/${package}"_*.deb | tar -x -C "$work" --wildcards './boot/vmlinuz-*' ||
        fail "$package holds no kernel"
    release=("$work"/boot/vmlinuz-*)
    mv "${release[0]}" "$kernel"
    rm -rf "${work:?}/boot" "$work"/*.deb
}

# The machine of an initramfs: busybox, bash, what is tested, and the libraries of these.
machine() {
    local root=$work/root tests
    mkdir -p "$root"/{bin,proc,sys,dev,run,tmp,etc,root,programs,heirloom/scripts}
    cp "$(command -v busybox)" "$root/bin/busybox"
    # busybox's shell prefers its own readlink, which has fewer options than a test of ours uses.
    ln -s bash "$root/bin/sh"
    scripts/restart-test.sh --build "$root/programs"
    cp scripts/restart-test.sh "$root/heirloom/scripts/"
    tests=$(cargo test --quiet --lib --all-features --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    cp "$tests" "$root/programs/unit-tests"
    cp "$(command -v bash)" "$(command -v readlink)" "$root/bin/"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    libraries "$root"/bin/{bash,readlink} "$root"/programs/*
    init >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"
}

# PROGRAM...: puts what they are linked with where they look for it.
libraries() {
    ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u | while read -r library; do
        mkdir -p "$work/root${library%/*}"
        cp -L "$library" "$work/root$library"
    done
}

# The first process in there. Its last words say how it went.
init() {
    cat <<END
#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd 2>/dev/null
ip link set lo up
export HOME=/root PATH=/bin
echo "-- Linux \$(uname -r)"
cd /heirloom
/programs/unit-tests --test-threads 2 sys:: sockets:: restarter:: && units=passed || units=failed
bash scripts/restart-test.sh $restarts /programs && restarts=passed || restarts=failed
echo "verdict: unit tests \$units, restart test \$restarts"
poweroff -f
END
}

# qemu 7.2 emulates cmpxchg16b in a way that makes Linux 6.12 panic, so the machine has none.
boot() {
    timeout "$deadline" qemu-system-x86_64 -M q35 -cpu max,cx16=off -smp 2 -m 2048 -accel tcg,thread=multi -nic none -no-reboot -display none \
        -kernel "$kernel" -initrd "$work/initramfs" -append 'console=ttyS0 quiet panic=-1' -serial "file:$work/serial" ||
        { tail -n 50 "$work/serial"; fail "${kernel##*/} did not end within $deadline s"; }
    tr -d '\r' <"$work/serial" >"$kernel.log"
}

# shellcheck source=/dev/null
mirror_of "$(. /etc/os-release && echo "${VERSION_CODENAME-}")"
machine
failed=0
for wanted in "${kernels[@]}"; do
    fetch "${wanted%%/*}" "${wanted#*/}"
    boot
    printf '%-52s %s\n' "$(sed -n 's/.*-- Linux /Linux /p' "$kernel.log")" "$(sed -n 's/^verdict: //p' "$kernel.log")"
    grep -q '^verdict: unit tests passed, restart test passed$' "$kernel.log" || { tail -n 60 "$kernel.log"; failed=1; }
done
((failed == 0)) || fail "not all passed; what each printed is in $cache"
