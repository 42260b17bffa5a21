//! systemd: a unit whose reload is a restart, and whose sockets outlive a crash.
//!
//! | where | what |
//! |---|---|
//! | a machine with systemd | a unit with `Type=notify` and the feature `systemd`: this chapter |
//! | a server in another language, or one that is not to change | `heirloom run`, under the same systemd |
//! | a container | `heirloom run` as PID 1: see [`containers`](super::containers) |
//! | Kubernetes | a rolling update for a new image; a restart in place for the rest: see [`containers`](super::containers#kubernetes) |
//! | a nanny that knows one PID (supervisord, runit, a shell script) | `heirloom run`, whose PID stays |
//!
//! Build the server with the feature `systemd`. `http::run` and [`Restarter::new`](crate::Restarter::new)
//! then tell systemd everything by themselves where a unit has `Type=notify`; with a
//! [`Restarter::builder`](crate::Restarter::builder), add `.systemd(Systemd::new())`. The module
//! `heirloom::systemd` has what is told, what was found out about systemd on the way, and what happens
//! without the rights.
//!
//! As root, for a server in `/usr/local/bin/server` (look at `ExecStart=`):
//!
//! ```sh
//! cp examples/deploy/systemd/server.service /etc/systemd/system/
//! systemctl daemon-reload
//! systemctl enable --now server
//! systemctl reload server       # a restart: it fails if the new process does, and the old one serves on
//! systemctl status server       # Status: "serving, generation 2; generation 1 drains: 12 left, ..."
//! ```
//!
//! `examples/deploy/systemd/server.service`:
//!
//! ```ini
#![doc = include_str!("../../examples/deploy/systemd/server.service")]
//! ```
//!
//! * The unit stays `active` through restarts and its main PID moves. A failed restart changes nothing but
//!   the status line.
//! * `ExecStop=` is needed: without it systemd kills a server that has restarted, instead of letting it
//!   drain. (The new process was not systemd's own child; the module `heirloom::systemd` says more.)
//! * With `FileDescriptorStoreMax=` systemd keeps the listening sockets. Through a crash, a watchdog's kill
//!   and `systemctl restart`, clients wait instead of being refused, and the next start answers them.
//! * With `WatchdogSec=`, `http::run` pings only as long as its runtime runs tasks; `Systemd::health` asks
//!   the program instead.
//! * Without the command, `ExecReload=/bin/kill -USR2 $MAINPID` restarts as well; it does not report a
//!   failure. `Type=notify-reload` (systemd 253) needs no command and does not report one either.
//!
//! Beside it lie three more units:
//!
//! * `server-notify-reload.service`: for systemd 253 or newer, without the command.
//! * `server-activated.socket` with its service: systemd makes the socket, before there is a server.
//! * `any-server.service`: the supervisor, for a server in any language. It has `KillMode=mixed`, because
//!   systemd's default sends the stop signal to the server as well as to the supervisor, which passes it on.
//!   Many servers take a second signal for "at once" (those of Python and Go, Node with `process.once`), and
//!   lose their requests in flight. It has `SuccessExitStatus=143`, because the supervisor's status is the
//!   server's, and many servers end by the signal that stopped them once they have finished (uvicorn, Puma).
//!
//! All of it is tested against a real systemd (`tests/systemd/units.rs` and `tests/systemd/store.rs`, as
//! root): 20 reloads under load, 0 failed, with systemd 252, and by `Type=notify-reload` with systemd 254,
//! which `scripts/newer-systemd.sh` unpacks beside Debian 12's own.
//!
//! ---
//!
//! Before: [`any_server`](super::any_server). Next: [`containers`](super::containers).
