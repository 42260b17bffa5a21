//! What holds, by number, and what does not. Tests quote the numbers.
//!
//! * **G1 No connection is lost.** Every connection that the kernel completed is accepted by some generation. The
//!   listening socket is never closed by all at once, never bound again, never `shutdown()`.
//! * **G2 No request is lost.** A request whose bytes the server may have received gets its full response, up to the
//!   drain deadline. Up to the idle linger, a connection on which a request may be on its way is not closed without
//!   having said so first. A client that ends its own direction and waits (`shutdown(SHUT_WR)`) gets its response too, over
//!   HTTP/1; one that is sent nothing for a minute after that has probably gone, and its request ends
//!   (`http::Config::half_closed_timeout`: over TCP the two cannot be told apart before something is written).
//! * **G3 A failed successor changes nothing.** Missing, not executable, of another architecture, crashed at its start,
//!   gone with status 0 before it was ready, hanging, failed in its own initialisation, dead or frozen right *after* it
//!   was ready: the predecessor serves on, reports the reason, and the next restart works.
//! * **G4 At most one successor at a time.** A trigger that arrives while a successor starts is remembered once, since
//!   the binary may have changed after the spawn, and acted on after the outcome: by the successor if it settled, else
//!   by the predecessor. A burst of a thousand signals makes at most two restarts.
//! * **G5 Everything ends.** Each wait has a deadline that can be set. A process asked to stop is gone by its deadline; a
//!   second request makes it immediate. (A foreign server under a supervisor may ask for more time, as of systemd:
//!   `EXTEND_TIMEOUT_USEC=`.)
//!   Nothing that others hold up keeps a process: a log that nobody reads (what does not fit into a queue is counted, and told
//!   later), a disk that hangs below the pid file, the status file or the control socket's path (waited for a second, and
//!   written once it answers), a hook that does not return (waited for 5 s).
//!   A server whose terminal is closed is one that is asked to stop, whoever else sends SIGHUP for a restart; that it cannot
//!   write there any more does not keep it from its end. Started with SIGHUP ignored (`nohup`) it goes on.
//!   Foreign workers of a supervisor that is killed stop, or are killed at the shutdown deadline, whatever they have done to
//!   their user (if the supervisor's user may signal them, and their watcher is not killed at the same moment).
//! * **G6 Nothing leaks.** After a thousand restarts: the same descriptors, the same size of environment, no zombies, no
//!   growth in memory, and no inherited descriptor reaches an unrelated grandchild.
//! * **G7 Mixed versions work.** Predecessor and successor may be built against different releases of heirloom. The
//!   handover messages are versioned, bounded, and tested against the recorded bytes of every release.
//!
//! What runs out (threads and processes, descriptors) is one of the failures of G3: whatever step of a restart
//! lacks it, the reason is told at once, the predecessor serves on, and the next restart works once there is room. No
//! connection is refused for want of a helper thread. Under a supervisor a dead worker is replaced as soon as there is
//! room, with the usual backoff. Clients do not use up the descriptors: the last 64 (or the last quarter, of fewer than 256)
//! are for operators and for a restart; connections beyond wait in the kernel's queue. No limit is raised unasked.
//!
//! # Who is believed
//!
//! * An operator's request goes to the process that was named, and to nobody else: not by way of a link, a socket or a pid file
//!   that another user could have put there (see the module `control`). It is void once the operator has gone.
//! * What another process says is escaped, and of bounded length, where people read it.
//!
//! # What is not guaranteed
//!
//! * Requests that a killed process held. SIGKILL takes them along; so does a crash. What it had not accepted yet is kept where
//!   systemd keeps the listening sockets (feature `systemd`), and else lost with the last process that has them.
//! * HTTP/2 and TLS connections do not outlive their process: they are told to go, and reconnect.
//! * WebSockets and event streams outlive their process only where the program has them move (`http::sessions`): over HTTP/1
//!   without TLS, when a request without a body began them, between two messages or chunks. A message that takes longer than
//!   5 s to come to its end, compression that remembers earlier messages, more than 64 KiB of state, and a successor that
//!   answers the request otherwise than its predecessor did, end a WebSocket with Close 1012. (The first three leave a stream with the
//!   old process up to the drain's deadline; the last cuts it.) What a handler has not flushed, or has waiting in a channel of
//!   its own, when it has its session move is lost.
//! * An HTTP/1 request that is answered before its upload ends: hyper does not say whether a body was read to its end, so
//!   if the drain begins meanwhile the connection is closed when the upload is over, without notice: the head of the
//!   response, which could have said so, is out.
//! * A half-closed client over HTTP/2, or one that ends a TLS connection without saying so in TLS: that is an end.
//! * A connection that one generation moves late (its request lasted) to a successor that has itself handed over by then
//!   is told to close, and does not move on.
//! * A program whose own runtime hangs while heirloom's thread goes on. That thread says, after COMMIT and again at the end
//!   of probation, that the process accepts; if it is silent for 5 s then (SIGSTOP, a debugger, a hung machine), the process is
//!   killed and taken back from. But it does not ask the accept loops of the program. Neither is one noticed that freezes
//!   after its last word; one of a release that does not say it; and under `heirloom run` a program that is not heirloom's,
//!   once it was ready.
//! * A frozen *predecessor* costs no client anything once the successor accepts: that one goes on alone a minute after the end
//!   of probation. Before that nobody can restart.
//! * What a server that is not heirloom's accepted before it was ready, if it does not end in order at its stop signal: it gets
//!   that signal where its start is given up, and SIGKILL only at the drain deadline (when the service stops: at the shutdown's).
//! * A restart of a set-user-id server, or workers for it: its environment is its caller's, so it believes no announcement, no
//!   `LISTEN_FDS`, no `NOTIFY_SOCKET` and no directory in there, and neither would its successor. It refuses. (File
//!   capabilities alone change nothing: they end with the exec of another program, so the caller gains nothing by them.)
//! * Under a supervisor that adopts orphans (PID 1, a subreaper), a worker behind a wrapper that closes the handover's
//!   descriptors is not told so: it looks like a daemon that a worker has left, and starts like any first generation.
//! * An accept loop that is not heirloom's (axum's own, actix-web's): it cannot be paused, so both generations accept
//!   during probation, and it closes connections in its own way. Most of them close idle ones, and each close can cost a
//!   request. `http::serve` does not. What such a loop has in flight is answered if it runs in
//!   [`Restarter::run_with`](crate::Restarter::run_with), or somebody holds a [`Restarter::hold`](crate::Restarter::hold) for it.
//! * A thread that waits in accept(2) itself, on a socket that [`Listener::into_std`](crate::Listener::into_std) gave and the
//!   program made blocking. O_NONBLOCK is shared by all generations: heirloom leaves it as it finds it, and sets it only when
//!   the successor's own loop has settled (until then that loop leaves the socket to the predecessor). But nothing wakes such
//!   a thread: it takes one more connection after its process has handed over. And a *successor* that makes the socket
//!   blocking does so under its predecessor too. [`Listener::into_blocking`](crate::Listener::into_blocking) has none of
//!   this.
//! * Clients of a Unix socket whose path somebody has removed, until the next restart, which makes it again. (What waits in the
//!   old one's queue is served; and under a supervisor, should that restart fail, who connects waits for the next one.)
//! * Descriptors for operators and restarts where the accept loop is not heirloom's, or the program opens files and sockets of its own:
//!   heirloom keeps the last descriptors from its own connections only.
//! * A reason at once where the successor hangs for want of threads before it has said anything: tokio's multi-threaded
//!   runtime does when it can make some of its workers and not all. Then it is the start timeout that ends it.
//! * A process that is out of memory: Rust's allocations abort it.
//! * Connections to a *dropped* listener that arrive between its last EAGAIN and its close.
//! * A listener that a process makes while its successor is being started: when that settles, this one's queue is served and
//!   it is closed. (Under a supervisor it stays open, and its connections wait until the successor asks for it.)
//! * A socket on `0.0.0.0:P` cannot become one on `127.0.0.1:P` in one restart: the predecessor listens on the port, and
//!   the bind fails with an error that says so. Go by way of another port, in two restarts.
//! * A program that does not return from `main` when [`Restarter::run`](crate::Restarter::run) does. The library never
//!   exits for it; tokio's runtime, for one, waits for blocking tasks when it is dropped.
//! * The last lines of a log that nobody reads: an end waits 200 ms for them. (The program's own lines are its own: whoever
//!   must not hang with the log gives `tracing` a writer that does not block.)
//! * A recorder of metrics that hangs: it is called on heirloom's own thread.
//! * Under a supervisor that is killed: what waits in the queue, if its workers are to stop then (the default).
//! * A machine that reboots.
