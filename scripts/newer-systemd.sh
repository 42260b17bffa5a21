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

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
# shellcheck disable=SC2016
find_mirror() {
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$codename" '$1 == release && $2 == "main" { print $3; exit }'
}
mirror=$(find_mirror)
if [[ -z $mirror ]] && ((EUID == 0)); then
    # Where apt has never fetched its lists it does not say.
    timeout 120 apt-get update -q || fail "apt cannot fetch its lists"
    mirror=$(find_mirror)
fi
[[ -n $mirror ]] || fail "apt has no source for '$codename main', or has not fetched its lists"
mkdir -p "$work"/{lists,cache/archives}/partial "$work/root"
echo "deb $mirror $codename-backports main" >"$work/sources.list"

# apt with lists and sources of its own. A mirror that hangs is given up: the deadlines are ten times what it takes.
apt() {
    local deadline=$1 command=$2
    shift 2
    (cd "$work" && timeout "$deadline" "apt-$command" -q -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any "$@")
}
apt 60 get update || fail "$(<"$work/sources.list") cannot be read"
version=$(apt 20 cache show --no-all-versions systemd | sed -n 's/^Version: //p')
dpkg --compare-versions "$version" ge "$wanted" || fail "$codename-backports has '$version'"
apt 120 get download "${packages[@]/%/=$version}" || fail "$version cannot be fetched from $mirror"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
# Another run may have been first.
mv -T "$work/root" "$folder" 2>/dev/null || [[ -d $folder ]] || fail "$folder cannot be made"
echo "systemd $version is in $folder"
