"""The peers of `peers`: how each is built, started, and asked for a restart. Each answers every path with the number of its
process."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = ROOT / "tests/foreign"
SERVERS = Path(__file__).resolve().parent / "peer-servers"
VENV = Path(os.environ.get("HEIRLOOM_VENV", Path.home() / ".cache/heirloom/venv")) / "bin"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
COMPILING = 1800  # seconds, of which an idle machine of two cores needs two hundred


class Peer:
    """What {port} and {home} stand for is known when it is started. {program} is a link to what restarts execute, where that
    is not the command itself, so that it can be broken."""

    def __init__(self, name, needs, command, restart, asks_the_serving=False, program=None):
        self.name, self.needs = name, needs
        self.command, self.restart = command, restart
        self.asks_the_serving, self.program = asks_the_serving, program

    @property
    def keeps_its_first(self):
        """The process that was started first is there to the end."""
        return self.restart[0] == "--signal" and not self.asks_the_serving


def peers(work, built, profile):
    address, rust = "127.0.0.1:{port}", TARGET / "peer-servers" / profile
    hold = [sys.executable, str(SERVERS / "hold.py"), address, "{program}"]
    plackup = ["plackup", "--no-default-middleware", "-s", "Starlet", "--max-workers=30",
               "--max-keepalive-reqs=1000", str(FOREIGN / "app.psgi")]
    # The old master ends when it is told to, and not by itself. A new one has its process id before its workers serve.
    replace = ("old=$(cat {home}/pid); kill -USR2 $old; for look in $(seq 200); do sleep 0.05; "
               "[ -s {home}/pid ] && [ $(cat {home}/pid) != $old ] && {wait} && kill -QUIT $old && exit; done; exit 1")
    # The new one waits at its socket for the old one's.
    upgrade = ("rm -f {home}/upgrade; {program} " + address + " {home} --upgrade >>{home}/log 2>&1 & "
               "for look in $(seq 200); do [ -S {home}/upgrade ] && kill -QUIT $SERVER_PID && exit; sleep 0.02; done; exit 1")
    return [
        Peer("heirloom", [], [str(built / "hello"), "--listen", address], ["--signal", "USR2"], True),
        Peer("heirloom, supervised", [],
             [str(built / "heirloom"), "run", "--listen", address, "--ready", "heirloom", "--", "{program}", "--listen",
              address], ["--signal", "HUP"], program=built / "hello"),
        Peer("ecdysis, hyper", ["cargo"], [str(rust / "ecdysis"), address], ["--signal", "USR2"], True),
        Peer("shellflip, hyper", ["cargo"], [str(rust / "shellflip"), address], ["--signal", "USR1"], True),
        Peer("pingora, --upgrade", ["cargo", "cmake"], ["{program}", address, "{home}"], ["--restart-command", upgrade],
             program=rust / "pingora"),
        Peer("axum-server, held socket", ["cargo"], hold, ["--signal", "HUP"], program=rust / "axum-server"),
        Peer("hyper-util, held socket", ["cargo"], hold, ["--signal", "HUP"], program=rust / "hyper-util"),
        Peer("nginx, reload", ["nginx"], write_nginx, ["--signal", "HUP"]),
        Peer("nginx, USR2 and QUIT", ["nginx"], write_nginx_daemon, ["--restart-command", replace.replace("{wait}", "true")]),
        Peer("HAProxy, -W", ["haproxy"], write_haproxy, ["--signal", "USR2"]),
        Peer("Server::Starter, Starlet", ["start_server", "plackup"],
             ["start_server", "--port", address, "--", *plackup], ["--signal", "HUP"]),
        Peer("unicorn, USR2 and QUIT", ["unicorn"], write_unicorn, ["--restart-command", replace.replace("{wait}", "sleep 1")]),
        Peer("puma, phased", ["puma"],
             ["puma", "-e", "none", "-w", "2", "-t", "20:20", "-b", f"tcp://{address}",
              str(FOREIGN / "config.ru")], ["--signal", "USR1"]),
        Peer("gunicorn, gthread", ["gunicorn"],
             ["gunicorn", "--worker-class=gthread", "--workers=2", "--threads=20", "-b", address, "--chdir",
              str(FOREIGN), "wsgi:application"], ["--signal", "HUP"]),
        Peer("uvicorn, workers", [str(VENV / "uvicorn")],
             [str(VENV / "uvicorn"), "--app-dir", str(FOREIGN), "--host", "127.0.0.1", "--port", "{port}",
              "--workers", "2", "--no-access-log", "asgi:application"], ["--signal", "HUP"]),
        Peer("Node, cluster", ["node"], ["node", str(FOREIGN / "node_cluster.js"), "{port}"], ["--signal", "USR2"]),
        Peer("grace (Go)", ["go"], lambda _home, _port: [go(work, "grace"), address], ["--signal", "USR2"], True),
        Peer("tableflip (Go)", ["go"], lambda _home, _port: [go(work, "tableflip"), address], ["--signal", "USR2"],
             True),
    ]


def missing(peer):
    return [need for need in peer.needs if shutil.which(need) is None]


def build_heirloom(release):
    subprocess.run(["cargo", "build", "--package", "heirloom", "--package", "heirloom-bench", "--features", "heirloom/cli",
                    "--bin", "heirloom", "--bin", "hello", *(["--release"] if release else [])],
                   cwd=ROOT, check=True, stdout=sys.stderr, timeout=COMPILING)


def build_rust(release):
    """Those of crates.io, all at once."""
    subprocess.run(["cargo", "build", *of_crates_io(), *(["--release"] if release else [])],
                   cwd=ROOT, check=True, stdout=sys.stderr, timeout=COMPILING)


def check():
    """0 if nothing is to be said of those of crates.io. CI has no time to compile them."""
    steps = [["fmt", "--check", "--manifest-path", SERVERS / "Cargo.toml"],
             ["clippy", *of_crates_io(), "--all-targets", "--", "-D", "warnings"]]
    return int(any(subprocess.run(["cargo", *step], cwd=ROOT, check=False).returncode for step in steps))


def of_crates_io():
    features = ["--features", "pingora"] if shutil.which("cmake") else []
    return ["--locked", "--manifest-path", SERVERS / "Cargo.toml", "--target-dir", TARGET / "peer-servers", *features]


def go(work, name):
    """Debian's packages are sources in a GOPATH."""
    subprocess.run(["go", "build", "-o", work / name, SERVERS / f"{name}.go"], check=True, stdout=sys.stderr,
                   timeout=COMPILING, env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                                           "GOCACHE": str(work / "go-cache")})
    return str(work / name)


def write_nginx(home, port, daemon="off"):
    places = "".join(f"{kind}_temp_path {home}/{kind};\n" for kind in
                     ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    (home / "nginx.conf").write_text(
        f"daemon {daemon}; worker_processes 2; pid {home}/pid; error_log {home}/error;\n"
        f"events {{ worker_connections 200; }}\n"
        f"http {{ access_log off; {places} server {{ listen 127.0.0.1:{port}; "
        f"location / {{ return 200 $pid; }} }} }}\n", encoding="utf-8")
    return [shutil.which("nginx"), "-c", str(home / "nginx.conf")]


def write_nginx_daemon(home, port):
    """In the foreground it ignores USR2."""
    return write_nginx(home, port, "on")


def write_haproxy(home, port):
    (home / "haproxy.cfg").write_text(
        f"global\n  stats socket {home}/stats level admin expose-fd listeners\n  nbthread 2\n"
        f"defaults\n  mode http\n  timeout client 60s\n  timeout http-keep-alive 60s\n"
        f"frontend web\n  bind 127.0.0.1:{port}\n"
        f"  http-request return status 200 content-type text/plain lf-string %pid\n", encoding="utf-8")
    return ["haproxy", "-W", "-f", str(home / "haproxy.cfg")]


def write_unicorn(home, port):
    (home / "unicorn.rb").write_text(f"worker_processes 30\nlisten '127.0.0.1:{port}'\npid '{home}/pid'\n", encoding="utf-8")
    return ["unicorn", "--no-default-middleware", "-E", "none", "-c", str(home / "unicorn.rb"), str(FOREIGN / "config.ru")]
