# shellcheck shell=bash disable=SC2154
# For scripts that boot a Debian kernel in an emulator, which source it: a machine of the tree's own programs, made without
# root and without KVM. They define `fail`, and `work`, a directory below `cache`.

need() {
    local tool
    for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio apt-get:apt dpkg-deb:dpkg cargo:cargo; do
        command -v "${tool%%:*}" >/dev/null || fail "${tool%%:*} is needed and not installed; Debian's package is ${tool##*:}"
    done
}

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

# The root of a machine, in `root`, with busybox; its shell is bash, if that is put there.
root_of() {
    root=$work/root
    mkdir -p "$root"/{bin,proc,sys,dev,run,tmp,etc,root,programs}
    cp "$(command -v busybox)" "$root/bin/busybox"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
}

# PROGRAM...: puts what they are linked with where they look for it.
libraries() {
    ldd "$@" 2>/dev/null | grep -o '/[^ :]*\.so[^ :]*' | sort -u | while read -r library; do
        mkdir -p "$root${library%/*}"
        cp -L "$library" "$root$library"
    done
}

# What the first process does is read from standard input; then the machine is packed.
pack() {
    cat - >"$root/init.commands"
    cat >"$root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
ln -s /proc/self/fd /dev/fd 2>/dev/null
ip link set lo up
export HOME=/root PATH=/bin
echo "-- Linux $(uname -r)"
. /init.commands
poweroff -f
END
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"
}

# MIB: boots it; what it prints is in `$kernel.log`. qemu 7.2 emulates cmpxchg16b in a way that makes Linux 6.12 panic, so
# the machine has none.
boot() {
    timeout "$deadline" qemu-system-x86_64 -M q35 -cpu max,cx16=off -smp 2 -m "$1" -accel tcg,thread=multi -nic none -no-reboot \
        -display none -kernel "$kernel" -initrd "$work/initramfs" -append 'console=ttyS0 quiet panic=-1' \
        -serial "file:$work/serial" ||
        { tail -n 50 "$work/serial"; fail "${kernel##*/} did not end within $deadline s"; }
    tr -d '\r' <"$work/serial" >"$kernel.log"
}
