//! Containers: what runs as PID 1, and when a restart in place is better than a rolling update.
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
//! ---
//!
//! Before: [`systemd`](super::systemd). Next: [`fetch`](super::fetch).
