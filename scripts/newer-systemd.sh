#!/usr/bin/env bash
# A systemd that knows Type=notify-reload, unpacked beside the machine's own one for tests/systemd/units.rs, where that is too old:
# from the backports of the Debian that this is, by the mirror that the machine uses. Nothing of the machine is changed.
#
#   scripts/newer-systemd.sh        (no root needed; a second run finds it there, in the user's cache)
#   HEIRLOOM_SYSTEMD=~/.cache/heirloom/newer-systemd cargo test --all-features --test systemd   (the whole file under it)
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=253
folder=${XDG_CACHE_HOME:-$HOME/.cache}/heirloom/newer-systemd
packages=(systemd libsystemd-shared)

fail() {
    echo "no systemd $wanted or newer for the tests: $*" >&2
    exit 1
}

own=$({ systemctl --version 2>/dev/null || true; } | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if ((${own:-0} >= wanted)); then
    echo "systemd $own of this machine is new enough"
    exit
fi
if [[ -d $folder ]]; then
    echo "$folder is there"
    exit
fi
[[ -x /usr/bin/apt-get && -x /usr/bin/dpkg-deb ]] || fail "this machine has ${own:-none}, and no apt to get one"

# Beside the folder, to become it by a rename: one that was cut off is never taken for whole.
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT

# shellcheck source=scripts/apt-beside.sh
. scripts/apt-beside.sh
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
mirror_of "$codename"
# shellcheck disable=SC2154 # set by mirror_of
sources "deb $mirror $codename-backports main"
mkdir "$work/root"
version=$(apt 20 cache show --no-all-versions systemd | sed -n 's/^Version: //p')
dpkg --compare-versions "$version" ge "$wanted" || fail "$codename-backports has '$version'"
apt 120 get download "${packages[@]/%/=$version}" || fail "$version cannot be fetched from $mirror"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
# Another run may have been first.
mv -T "$work/root" "$folder" 2>/dev/null || [[ -d $folder ]] || fail "$folder cannot be made"
echo "systemd $version is in $folder"
