//! Any server, in any language: `heirloom run` (feature `cli`).
//!
//! ```sh
//! cargo install heirloom --features cli        # in a checkout: cargo install --path . --features cli
//! heirloom run --listen 0.0.0.0:8080 --ready notify -- python3 app.py
//! ```
//!
//! The command binds the socket, starts the server with it at fd 3, and keeps its PID. `kill -HUP` (or USR2)
//! starts a new server beside the old one. The old server serves until the new one is ready and has lived
//! through the probation; then it is sent the stop signal. A new server that is not ready in time, exits, or
//! dies on probation changes nothing.
//!
//! TERM and INT stop the service. USR1, QUIT, WINCH, TTIN, TTOU, ALRM and the real-time signals go on to the
//! server. `heirloom restart --pid PID` waits for the outcome, and its exit status tells it.
//!
//! As PID 1 of a container it reaps orphans. Its exit status is the server's; it is 127 if there is no such
//! command, and 126 if the command cannot be executed.
//!
//! A server has no terminal, so no terminal stops it. Ctrl-C stops `heirloom run`, which stops the server.
//! Ctrl-Z suspends `heirloom run` alone. Where the standard input is a terminal, the server has `/dev/null`
//! unless `--keep-stdin` is given. Run the server in the foreground: one that goes into the background is
//! given up, with the reason. What servers have started ends with `heirloom run`.
//!
//! # What a server must do
//!
//! It reads `LISTEN_FDS`, as under systemd, or `SERVER_STARTER_PORT`, as under Server::Starter. Most servers
//! can:
//!
//! | server | started as | ready | stop signal |
//! |---|---|---|---|
//! | Node | `server.listen({ fd: 3 })` | `--ready fd` | TERM |
//! | asyncio | `start_server(sock=socket.socket(fileno=3))` | `--ready notify` | TERM |
//! | gunicorn | `gunicorn app:application` | `--ready http=/` | TERM |
//! | uvicorn | `uvicorn --fd 3 app:app` | `--ready notify`, said by the app's lifespan; else by time | TERM |
//! | hypercorn | `hypercorn --bind fd://3 --bind fd://4 app:app` | `--ready http=/`, which is fd 4 | TERM |
//! | unicorn | `unicorn config.ru` | `--ready http=/` | `--stop-signal QUIT` |
//! | Puma | `puma --bind-to-activated-sockets=only config.ru` | `--ready notify` with the gem `sd_notify`, else `http=/` | TERM |
//! | Starlet | `plackup -s Starlet app.psgi` | `--ready http=/` | TERM |
//! | a heirloom program | with the same `--listen` as above | `--ready heirloom` | none: connections move |
//!
//! * **Ready** is one of: the server has run for a while (`after=1s`, the default); it says `READY=1` to
//!   `NOTIFY_SOCKET` (`notify`); it writes a line to a descriptor (`fd`, `fd=9`); it answers a path with a
//!   2xx (`http=/up`), at one more socket that heirloom hands to the new server alone, or at an address of
//!   its own (`http=ADDRESS/up`, `tcp=ADDRESS`). A check at a socket that all servers share is refused,
//!   because the *old* server would answer it.
//! * **Sockets** block unless you say `--nonblocking`, as from systemd: servers that want otherwise set that
//!   themselves. There may be several `--listen [NAME=]ADDRESS[=FD]`, Unix sockets and UDP. `[::]:80` is IPv6
//!   alone.
//! * **The environment** of each new server can be read anew: `--env-dir` (one file a variable),
//!   `--env-file`. If it cannot be read, the old server stays.
//! * **A developer's loop** is `--watch PATH`: see [below](#while-you-write-it).
//! * **More options** are `--stop-delay`, `--drain-timeout` (then the server's whole process group is
//!   killed), `--restart-every`, `--pid-file`, `--status-file`; `heirloom run --help` has them all. In code:
//!   `heirloom::supervisor::WorkerCommand`.
//! * **Updates:** with the feature `fetch` as well, `--fetch SOURCE` keeps the server's own file up to date,
//!   and puts the previous file back if the new one fails.
//! * **A server that accepts nothing** is reported, with the number of the socket that it ignores. So is one
//!   that dies at once because it binds the address itself.
//! * **`NOTIFY_SOCKET`** is a path, as under systemd, that works for another user and in another network
//!   namespace. `MAINPID=` is followed when its sender ends, and `EXTEND_TIMEOUT_USEC=` gives more time to
//!   start or to stop.
//! * **Run the program itself**, not a shell around it (or `exec` it there): signals go to the process that
//!   was started, or that the server names with `MAINPID=`.
//!
//! # While you write it
//!
//! `--watch PATH` restarts when that file has changed and has then stayed the same for half a second. What
//! watches, such as cargo-watch, or the editor, has only to build:
//!
//! ```sh
//! heirloom run --listen 127.0.0.1:8080 --ready heirloom --watch target/debug/server -- target/debug/server &
//! cargo build        # or cargo watch -x build: each new binary is the next server, and no request is lost
//! ```
//!
//! The port stays open, so a browser's reload waits for the new server instead of being refused, and
//! connections and state move as they will in production. A build that fails leaves the binary as it is; a
//! server that does not start is told, and the old one serves on. A file that is gone, or empty, is waited
//! for: cargo removes the old binary before it puts the new one in place. `--watch` can be given several
//! times, and works with a script, a template or a configuration file as well. For a server in another
//! language leave out `--ready heirloom`. In code: `Supervisor::watch`.
//!
//! # What was lost, measured
//!
//! `tests/command/loads.rs` makes twenty restarts under each of three loads: a new connection for each
//! request, kept connections, and kept connections 2 ms away. Failed requests:
//!
//! | server | new connections | kept connections |
//! |---|---|---|
//! | asyncio, Node, Starlet, unicorn, gunicorn's sync workers | 0 | 0 |
//! | gunicorn 20.1, gthread workers | 0 | nearly one for each connection at each restart: it resets those that it has kept |
//! | Puma 5.6 (Puma 8 was not tried) | 0; on a busy machine 3 (none with `queue_requests false`): when it stops, it closes what it has accepted and heard nothing from | 1 |
//! | uvicorn 0.54 | 5 | about one for two connections at each restart |
//! | hypercorn 0.18 | 8 | about one for two connections at each restart |
//!
//! At a stop, uvicorn and hypercorn close what they have accepted and not yet heard. The asyncio and Node
//! servers drain as in `tests/foreign`: Node's own `server.close()` ends idle connections at once,
//! and asyncio's drops what it has accepted in the same turn.
//!
//! ---
//!
//! Before: [`supervisor`](super::supervisor). Next: [`systemd`](super::systemd).
