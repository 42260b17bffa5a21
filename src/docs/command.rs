//! The command `heirloom`: restart, watch and stop a server from a shell.
//!
//! `kill` returns 0 for a restart that then fails. The command waits, tells each step, and exits 0 only if
//! the new process serves:
//!
//! ```console
//! $ cargo install heirloom --features cli        # in a checkout: cargo install --path . --features cli
//! $ cargo run --example hello -- --listen 127.0.0.1:8080 &
//! $ heirloom restart --pid $!
//! spawned        0.9 ms  process 4723
//! initialised    4.0 ms
//! ready          4.2 ms  it accepts, and is watched
//! settled         1.0 s  process 4723 serves
//! ```
//!
//! Nothing has to be configured. A server answers on its control socket: `http::run` and
//! [`Restarter::new`](crate::Restarter::new) have one, and `Builder::control` asks for one. Only the server's
//! own user and root can use it. The command finds it from the process id.
//!
//! `--pid-file PATH` and `--control PATH` work as well, the latter with `Builder::control_at`, whose path
//! always leads to the process that serves. With these two it does not matter that a restart changes the
//! process id.
//!
//! | command | what it does |
//! |---|---|
//! | `heirloom restart` | Waits for `--wait ready`, `settled` (the default) or `drained`. On failure it shows the successor's own reason or panic, and what the successor wrote to standard error if that is a file (else where it went). |
//! | `heirloom status` | Shows every generation alive, whichever is asked: who serves, restarts and failures so far, which connections hold the old process and until when, how many of which kind have moved, and why others could not. `--json` prints what `control::Status` describes; `--watch` repeats. |
//! | `heirloom stop` | Stops gracefully and waits until the process is gone. A second one does not abort anything. |
//! | `heirloom hammer` | Aborts what is left, now. |
//! | `heirloom run` | Supervises any server: see [`any_server`](super::any_server). |
//! | `heirloom prove` | Restarts any server under clients that never retry, and names what they lose: see [`prove`](super::prove). |
//! | `heirloom completions SHELL`, `heirloom man` | Print the completions for a shell, and the page for `man -l`. |
//!
//! # Exit status
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 3 | the server is not running, or the pid file is stale |
//! | 4 | no permission |
//! | 5 | the process has no control socket |
//! | 6 | refused |
//! | 7 | the successor failed before it was ready |
//! | 8 | taken back after it was ready |
//! | 9 | timed out |
//! | 10 | the service was stopped meanwhile |
//! | 14 | `heirloom prove`: the server loses something |
//!
//! `heirloom --help` has them all.
//!
//! The command ends within about ten milliseconds of the outcome, its own start included (`cargo test
//! --all-features --test operate -- --nocapture` prints the figure). If two operators ask at once, each gets
//! an answer of its own: a request that comes during a restart is acted on after it.
//!
//! # Asking from a program
//!
//! heirloom's own thread serves the socket, so it answers while the program is busy. It speaks one JSON
//! object a line (see the module `control`), so that any program can ask:
//!
//! ```console
//! $ echo '{"heirloom":1,"do":"status"}' | socat - UNIX-CONNECT:/run/heirloom/4723.heirloom
//! ```
//!
//! ---
//!
//! Before: [`udp`](super::udp). Next: [`supervisor`](super::supervisor).
