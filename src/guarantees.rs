//! What holds, by number, and what does not. Tests quote the numbers.
//!
//! * **G1 No connection is lost.** Every connection that the kernel completed is accepted by some generation. The
//!   listening socket is never closed by all at once, never bound again, never `shutdown()`.
//! * **G2 No request is lost.** A request whose bytes the server may have received gets its full response, up to the
//!   drain deadline. Up to the idle linger, a connection on which a request may be on its way is not closed without
//!   having said so first.
//! * **G3 A failed successor changes nothing.** Missing, not executable, of another architecture, crashed at its start,
//!   gone with status 0 before it was ready, hanging, failed in its own initialisation, dead right *after* it was
//!   ready: the predecessor serves on, reports the reason, and the next restart works.
//! * **G4 At most one successor at a time.** A trigger that arrives while a successor starts is remembered once, since
//!   the binary may have changed after the spawn, and acted on after the outcome: by the successor if it settled, else
//!   by the predecessor. A burst of a thousand signals makes at most two restarts.
//! * **G5 Everything ends.** Each wait has a deadline that can be set. A process asked to stop is gone by its deadline; a
//!   second request makes it immediate. (A foreign server under a supervisor may ask for more time, as of systemd:
//!   `EXTEND_TIMEOUT_USEC=`.)
//! * **G6 Nothing leaks.** After a thousand restarts: the same descriptors, the same size of environment, no zombies, no
//!   growth in memory, and no inherited descriptor reaches an unrelated grandchild.
//! * **G7 Mixed versions work.** Predecessor and successor may be built against different releases of heirloom. The
//!   handover messages are versioned, bounded, and tested against the recorded bytes of every release.
//!
//! # What is not guaranteed
//!
//! * Requests that a killed process held. SIGKILL takes them along; so does a crash. What it had not accepted yet is kept where
//!   systemd keeps the listening sockets (feature `systemd`), and else lost with the last process that has them.
//! * HTTP/2 and TLS connections do not outlive their process: they are told to go, and reconnect.
//! * An HTTP/1 request that is answered before its upload ends: hyper does not say whether a body was read to its end, so
//!   if the drain begins meanwhile the connection is closed when the upload is over, without notice.
//! * A connection that one generation moves late (its request lasted) to a successor that has itself handed over by then
//!   is told to close, and does not move on.
//! * A successor that freezes, alive, between READY and its first accept: probation sees deaths.
//! * An accept loop that is not heirloom's (axum's own, actix-web's): it cannot be paused, so both generations accept
//!   during probation, and its goodbye is its own. Most of them close idle connections, and each close can cost a
//!   request. `http::serve` does not.
//! * Connections to a *dropped* listener that arrive between its last EAGAIN and its close.
//! * A listener that a process makes while its successor is being started: when that settles, this one's queue is served and
//!   it is closed. (Under a supervisor it stays open, and its connections wait until the successor asks for it.)
//! * A socket on `0.0.0.0:P` cannot become one on `127.0.0.1:P` in one restart: the predecessor listens on the port, and
//!   the bind fails with an error that says so. Go by way of another port, in two restarts.
//! * A program that does not return from `main` when [`Restarter::run`](crate::Restarter::run) does. The library never
//!   exits for it; tokio's runtime, for one, waits for blocking tasks when it is dropped.
//! * Under a supervisor that is killed: what waits in the queue, if its workers are to stop then (the default).
//! * A machine that reboots.
