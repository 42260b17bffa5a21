# shellcheck shell=bash disable=SC2154
# For scripts that fetch Debian packages without changing the machine, which source it: apt with lists, sources and a cache of
# its own, under `$work`, by the mirror that the machine uses. They define `fail`.

# shellcheck disable=SC2016
find_mirror() {
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release && $2 == "main" { print $3; exit }'
}

# NAME of the Debian that this is -> its mirror, in `mirror`.
mirror_of() {
    mirror=$(find_mirror "$1")
    if [[ -z $mirror ]] && ((EUID == 0)); then
        # Where apt has never fetched its lists it does not say.
        timeout 120 apt-get update -q || fail "apt cannot fetch its lists"
        mirror=$(find_mirror "$1")
    fi
    [[ -n $mirror ]] || fail "apt has no source for '$1 main', or has not fetched its lists"
}

# LINE...: the sources from here on, each a line of a sources.list.
sources() {
    mkdir -p "$work"/{lists,cache/archives}/partial
    printf '%s\n' "$@" >"$work/sources.list"
    apt 120 get update || fail "$(<"$work/sources.list") cannot be read"
}

# DEADLINE COMMAND ARGUMENT...: in `$work`. A mirror that hangs is given up: the deadlines are ten times what it takes.
apt() {
    local deadline=$1 command=$2
    shift 2
    (cd "$work" && timeout "$deadline" "apt-$command" -q -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Acquire::http::Timeout=20 \
        -o Acquire::https::Timeout=20 -o APT::Update::Error-Mode=any "$@")
}
