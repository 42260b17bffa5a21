#!/usr/bin/env bash
# What an idle supervisor holds, beside parents of the same kind that Debian carries, in one run: each binds a free port and
# keeps one worker. Private memory is what its exit would give back; PSS adds its share of what others map too.
#
#   scripts/bench-supervisor.sh        (builds heirloom in release; starlet, unicorn and gunicorn where they are installed)
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --quiet --release --features cli
heirloom=$PWD/target/release/heirloom
folder=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap finish EXIT

cat >"$folder/app.psgi" <<'PERL'
sub { [200, ['Content-Type' => 'text/plain'], ['Hello World']] }
PERL
cat >"$folder/config.ru" <<'RUBY'
run ->(env) { [200, { 'content-type' => 'text/plain' }, ['Hello World']] }
RUBY
cat >"$folder/application.py" <<'PYTHON'
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello World"]
PYTHON
cat >"$folder/unicorn.rb" <<'RUBY'
worker_processes 1
RUBY

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# measure NAME PORT COMMAND...: starts it, waits until it answers, and prints what its parent process holds.
measure() {
    local name=$1 port=$2
    shift 2
    (cd "$folder" && exec "$@" >"$folder/log" 2>&1) &
    local pid=$!
    pids+=("$pid")
    for _ in $(seq 100); do
        curl -fsS -o /dev/null --max-time 1 "http://127.0.0.1:$port/" 2>/dev/null && break
        sleep 0.1
    done
    curl -fsS -o /dev/null --max-time 1 "http://127.0.0.1:$port/" || {
        echo "$name does not answer:" >&2
        cat "$folder/log" >&2
        return
    }
    sleep 1
    awk -v name="$name" -v threads="$(awk '/^Threads/ { print $2 }' "/proc/$pid/status")" '
        /^Pss:/ { pss = $2 }
        /^Private_(Clean|Dirty):/ { private += $2 }
        END { printf "%-34s %8d KiB %8d KiB %8d\n", name, private, pss, threads }
    ' "/proc/$pid/smaps_rollup"
}

printf '%-34s %12s %12s %8s\n' 'idle parent of one worker' private PSS threads
port=$(free_port)
measure 'heirloom run' "$port" "$heirloom" run --listen "127.0.0.1:$port" --ready after=100ms -- \
    python3 -c 'import http.server, socket
server = http.server.HTTPServer(("", 0), http.server.BaseHTTPRequestHandler, bind_and_activate=False)
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
server.RequestHandlerClass = Hello
server.socket = socket.socket(fileno=3)
server.serve_forever()'
if command -v start_server >/dev/null; then
    port=$(free_port)
    measure 'Server::Starter (Perl)' "$port" start_server --port="127.0.0.1:$port" -- plackup -s Starlet --max-workers 1 app.psgi
fi
if command -v unicorn >/dev/null; then
    port=$(free_port)
    measure 'unicorn (Ruby)' "$port" unicorn -c unicorn.rb -l "127.0.0.1:$port" config.ru
fi
if command -v gunicorn >/dev/null; then
    port=$(free_port)
    measure 'gunicorn (Python)' "$port" gunicorn -b "127.0.0.1:$port" application:application
fi
