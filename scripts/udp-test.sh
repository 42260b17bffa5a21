#!/usr/bin/env bash
# UDP through restarts, with heirloom's flows and, beside them, with a plain shared socket: how many conversations broke, which
# datagrams were answered by another process than those before or by one that missed some, and which by nobody. Exit status 0:
# with flows, none.
#
#   scripts/udp-test.sh [RESTARTS]      10 by default
#
# 16 clients number their datagrams and send each once; half of them have one conversation over all restarts. A name server is
# asked 2,000 times a second. A stream of datagrams to an older generation says what forwarding costs.
set -euo pipefail
cd "$(dirname "$0")/.."

export HEIRLOOM_UDP_RESTARTS=${1:-10}
cargo test --quiet --all-features --test udp --no-run
cargo test --quiet --all-features --test udp -- --nocapture --test-threads 1 where_it_began conversations_break answered_through \
    through_forwarding 2>&1 | grep -v -e '^$' -e '^running' -e '^test '
exit "${PIPESTATUS[0]}"
