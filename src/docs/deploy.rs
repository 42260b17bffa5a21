//! Where a server runs: on a machine under systemd, in a container, under Kubernetes. What to use when, and
//! files to begin with (they are in `examples/deploy`, and shown here as they are there).
//!
//! | where | what |
//! |---|---|
//! | a machine with systemd | a unit with `Type=notify` and the feature `systemd`: see [below](#systemd) |
//! | a server in another language, or one that is not to change | `heirloom run`, under the same systemd |
//! | a container | `heirloom run` as PID 1: see [below](#a-container) |
//! | Kubernetes | a rolling update for a new image; a restart in place for the rest: see [below](#kubernetes) |
//! | a nanny that knows one PID (supervisord, runit, a shell script) | `heirloom run`, whose PID stays |
//!
//! # systemd
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
//! # A container
//!
//! PID 1 of a container must not exit: the container ends with it. A server that is PID 1 itself therefore
//! refuses to restart ([`Refusal::Init`](crate::Refusal::Init)), and the supervisor takes its place. It also
//! reaps what others leave behind, and is the one that gets the signals. `examples/deploy/docker/Dockerfile`:
//!
//! ```dockerfile
#![doc = include_str!("../../examples/deploy/docker/Dockerfile")]
//! ```
//!
//! In the directory of the server's crate, with a checkout of heirloom beside it:
//!
//! ```sh
//! docker build -t server --build-context heirloom=../heirloom \
//!     -f ../heirloom/examples/deploy/docker/Dockerfile .
//! docker run --rm -p 8080:8080 --name server server
//! docker exec server heirloom restart --pid 1       # fails if the new worker does; the old one serves on
//! docker kill --signal HUP server                   # the same; how it went is in the log
//! ```
//!
//! `docker stop` kills after 10 s. The [shutdown timeout](crate::Builder::shutdown_timeout) is 9 s by default
//! for that reason. If you raise it, raise `docker stop --time` or `stop_grace_period` as well.
//!
//! What to see to:
//!
//! * **A place for the control socket.** `docker exec CONTAINER heirloom restart --pid 1` asks a socket in
//!   `/tmp/heirloom-UID` (as root, `/run/heirloom`). With `--read-only`, give it one: `--tmpfs /tmp`.
//!   Without, the server says so in its log and serves, the command ends with status 5, and `docker kill
//!   --signal HUP CONTAINER` restarts all the same. A server's `NOTIFY_SOCKET` wants the same place.
//! * **The user.** The command asks as the container's own user, as `docker exec` runs it. Root in the
//!   container can be refused: without CAP_SYS_PTRACE it may not look at another user's process.
//! * **What the server says at once.** The image counts a worker that says nothing as ready when it has run
//!   for a second. One that uses this library says more with `heirloom run --ready heirloom`, and connections
//!   move to the new worker; without it, the old worker is told to stop, so its connections are told to close
//!   and [`is_ready`](crate::Restarter::is_ready) may answer no once in a restart.
//! * **A new binary** comes by `docker cp` or a volume, if at all; a new image is a new container.
//!
//! All of it is tested with podman and crun (`tests/container/engine.rs`, as root), with the Dockerfile built
//! and run as it is:
//!
//! * 10 restarts by the command and 10 by the signal under three loads each, 0 failed, with an address of the
//!   container and by a published port;
//! * stops in time with the right status; orphans; a read-only root without any capability; a killed
//!   container's leftovers;
//! * the manifest's command, probes, preStop and grace period.
//!
//! In that test a script stands in for `cargo`, and the machine's libraries for Debian's image. The server of
//! ten lines was built once by the same file and the real cargo (an image of 37 MB). Docker itself, and a
//! Kubernetes cluster, it has not seen.
//!
//! # Kubernetes
//!
//! **For a new image, use a rolling update, and not this crate's restart.** It works across nodes, checks
//! readiness, can be undone, and leaves the cluster in the state that its manifests say; a process that has
//! replaced itself inside of a pod is none of that. What heirloom does for a rolling update is the other
//! half, which most servers do badly: the pod that ends loses no request. It takes what still comes, finishes
//! what is in flight, tells the other connections to go, and is gone in time. For that no supervisor is
//! needed: a server with [`Restarter::run`](crate::Restarter::run) as PID 1 stops as well.
//!
//! A restart in place is the better tool where a new pod costs more than a new process, or cannot be had:
//!
//! * a changed configuration, certificate or data file in a mounted volume, on hundreds of pods, with
//!   connections that live for hours (WebSockets, uploads): a rolling update would cut each of them;
//! * state in memory that takes minutes to load, and that a successor takes over in milliseconds
//!   ([`Restarter::provide_state`](crate::Restarter::provide_state));
//! * one pod that has no second: a `StatefulSet` with its volume, a `DaemonSet` on the host's network and its
//!   ports;
//! * a process that is to be young again (a leak, a runtime's fragmentation), every night.
//!
//! Both fit together: rolling updates for images, `kubectl exec POD -- heirloom restart --pid 1` (or a
//! sidecar that watches the volume) for the rest. What to see to:
//!
//! * **Memory.** During a restart in place there are two generations in one pod. The limit has to hold both,
//!   or the kernel kills one of them; then at least the other one serves on.
//! * **Readiness** does not change in a restart in place: one of the two always says yes. It turns false
//!   first when the pod ends, if [`Builder::shutdown_notice`](crate::Builder::shutdown_notice) gives it the
//!   time.
//! * **The version that runs** is not in the pod's spec any more once a binary came from a volume. Kubernetes
//!   starts a pod that crashed from its image: put what must survive into the image.
//! * **Time.** `terminationGracePeriodSeconds` is the sum of everything between the decision and the end; the
//!   manifest says how it comes about. A test keeps the sum true.
//!
//! `examples/deploy/kubernetes/deployment.yaml`:
//!
//! ```yaml
#![doc = include_str!("../../examples/deploy/kubernetes/deployment.yaml")]
//! ```
//!
//! # Metrics
//!
//! The feature `metrics` counts restarts by outcome, time to ready and to settle, drain time, connections
//! open, moved and aborted, and the generation. They go to the recorder of the `metrics` facade that the
//! program installs. The module `heirloom::metrics` has the names, and which of the two processes records
//! what. A supervisor counts for itself what becomes of its workers, dead ones that were replaced included,
//! and lives long enough to be scraped for it.
